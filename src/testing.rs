//! Re-exports for the integration tests, under the names of the rooms. Everything else is private to the crate, so that
//! the compiler reports dead code.

pub mod api {
    pub mod router {
        pub use crate::api::router::contract;
    }
}

pub mod app {
    pub use crate::app::App;
}

pub mod clock {
    pub use crate::clock::now;
}

pub mod config {
    pub use crate::config::{
        AgentSettings, EmbeddingProvider, EmbeddingSettings, HistoryOverrides, ModelSettings, Provider,
        RetentionSettings, Settings,
    };
}

pub mod database {
    pub use crate::database::{begin, migrate};

    pub mod embedded {
        pub use crate::database::embedded::{EmbeddedPostgres, Options, StartError};
    }
}

pub mod engine {
    pub mod supervision {
        pub use crate::engine::supervision::start;
    }
}

pub mod http_client {
    pub use crate::http_client::builder;
}

pub mod idempotency {
    pub use crate::idempotency::sweep;
}

pub mod jobs {
    pub use crate::jobs::{Job, enqueue};
}

pub mod llm {
    pub use crate::llm::{
        ErrorKind, ModelError, ModelReply, ModelRequest, Models, PromptMessage, ResponseSchema, ToolSpec, http_client,
    };
}

pub mod memories {
    pub mod change {
        pub use crate::memories::change::{Author, Change, Changed, apply};
    }

    pub mod extraction {
        pub use crate::memories::extraction::{learn, sweep};
    }

    pub mod service {
        pub use crate::memories::service::sweep;
    }

    pub mod store {
        pub use crate::memories::store::lock_user;
    }
}

pub mod model {
    pub use crate::model::{
        MemoryId, ModelInfo, ModelUsage, ProcessId, Scope, SessionId, SessionType, TenantId, ToolCall, Usage, UserId,
    };

    pub mod memory {
        pub use crate::model::memory::Source;
    }

    pub mod paging {
        pub use crate::model::paging::SortOrder;
    }
}

pub mod processes {
    pub use crate::processes::store;
}

pub mod search {
    pub use crate::search::{Reindexed, reindex};

    pub mod vectors {
        pub use crate::search::vectors::start;
    }
}

pub mod server {
    pub use crate::server::{migrate, serve_on};
}

pub mod sessions {
    pub mod filter {
        pub use crate::sessions::filter::{Archived, Place, SessionFilter, Sort, SortBy};
    }

    pub mod retention {
        pub use crate::sessions::retention::{Swept, sweep};
    }

    pub mod store {
        pub use crate::sessions::store::{ExportedLine, Part, Selection, Words, export_lines, write_list};
    }
}

pub mod summaries {
    pub use crate::summaries::{fold_session, forget};
}

pub mod usage {
    pub use crate::usage::Purpose;

    pub mod store {
        pub use crate::usage::store::add;
    }
}

pub mod worker {
    pub use crate::worker::run_due;
}
