//! `update_session_state`: lets the model keep notes in the session state.

use serde_json::{Value, json};

use super::Toolbox;
use crate::llm::ToolSpec;

pub(super) fn spec() -> ToolSpec {
    ToolSpec {
        name: "update_session_state",
        description: "Changes the session's state: keys given are set, keys given as null are removed, others stay.",
        parameters: json!({
            "type": "object",
            "properties": {
                "session_state_updates": {
                    "type": "object",
                    "description": "The keys to set, with their values.",
                },
            },
            "required": ["session_state_updates"],
        }),
    }
}

pub(super) fn call(toolbox: &mut Toolbox<'_>, arguments: &Value) -> Result<String, String> {
    let Value::Object(updates) = &arguments["session_state_updates"] else {
        return Err("session_state_updates must be an object of the keys to set".into());
    };
    if crate::text::find_nul(&arguments["session_state_updates"]).is_some() {
        return Err("a text holds a NUL character, which cannot be stored".into());
    }
    toolbox.patch_state(updates.clone()).map_err(|problem| {
        format!("nothing was changed: {}; store less, or remove keys by giving them as null", problem.detail())
    })?;
    Ok(format!("The session state is now: {}", Value::Object(toolbox.state().clone())))
}
