//! The rows of registered processes, of open runs, and of cancel requests.

mod cancelling;
mod living;
mod orphans;
mod turns;

pub use self::{
    cancelling::{Fate, active_run, look_after, request_cancel},
    living::{bury, enter, expire_all, leave, lives, renew},
    orphans::{Orphan, PutBack, declined, orphans, put_back},
    turns::{Served, Taken, begin, count_background, notify, take, waiter},
};
