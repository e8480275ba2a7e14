//! A session's state: a JSON object that runs and users change with merge patches (RFC 7396).

use serde_json::{Map, Value};

use super::Error;

/// Applies merge patches to a state in order. They cannot be combined into one patch beforehand.
pub fn apply_patches(state: &mut Map<String, Value>, patches: &[Map<String, Value>]) {
    let mut document = Value::Object(std::mem::take(state));
    for patch in patches {
        json_patch::merge(&mut document, &Value::Object(patch.clone()));
    }
    if let Value::Object(merged) = document {
        *state = merged;
    }
}

/// The size of an object as JSON, in bytes.
pub fn json_bytes(object: &Map<String, Value>) -> usize {
    serde_json::to_vec(object).map_or(usize::MAX, |json| json.len())
}

/// Refuses an object that is larger than `max` bytes as JSON; the limit is `sessions.max_state_bytes`.
pub fn check_size(max: usize, pointer: &str, object: &Map<String, Value>) -> Result<(), Error> {
    match json_bytes(object) {
        bytes if bytes > max => {
            let detail = format!("would have {bytes} bytes as JSON; keep it to {max} (sessions.max_state_bytes)");
            Err(Error::invalid(pointer, detail))
        }
        _ => Ok(()),
    }
}

/// Applies a merge patch to a state, unless that would make it larger than `max` bytes as JSON.
pub fn try_patch(max: usize, state: &mut Map<String, Value>, patch: &Map<String, Value>) -> Result<(), Error> {
    let mut patched = state.clone();
    apply_patches(&mut patched, std::slice::from_ref(patch));
    check_size(max, "/session_state", &patched)?;
    *state = patched;
    Ok(())
}
