//! The types that all rooms share: ids, enums, messages, usage, errors, and the caller.
//!
//! *Architecture Invariant:* this room imports no other rooms than `text` and `words` (and `clock` in tests). Its types
//! have no behaviour beyond their own values: no SQL, no HTTP, no clock.

pub mod caller;
pub mod error;
pub mod ids;
pub mod json;
pub mod memory;
pub mod paging;
pub mod run;
pub mod score;
pub mod session;
pub mod state;
pub mod summary;
pub mod version;
pub mod webhook;

pub use self::{
    caller::{Caller, Scope},
    error::{Error, ErrorKind, FieldError, OnConstraint},
    ids::{MemoryId, ProcessId, RunId, SessionId, TenantId, UserId},
    memory::Memory,
    run::{
        Claim, Opening, Run, RunStatus,
        context::{ContextRecord, RecalledMemory, TokensByPart, Window},
        error::{RunError, RunErrorKind},
        message::{AnsweredCall, Message, Role, ToolCall},
        tool::{ToolExecution, ToolMetrics},
        usage::{MessageMetrics, ModelInfo, ModelUsage, RunMetrics, Usage, UsageDetails},
    },
    score::ScoreParts,
    session::{NamedBy, Session, SessionType},
    summary::SessionSummary,
    webhook::WebhookUrl,
};
