//! Retention: deletes sessions that have expired, or have been inactive for too long.
//!
//! [`sweep`] is a scheduled job. It deletes in small batches, each in its own transaction, so that it never blocks
//! others for long, and logs what it deleted.

use std::{collections::BTreeMap, time::Duration};

use super::store;
use crate::app::App;

const BATCH: i64 = 100;

/// Number of sessions deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    pub expired: usize,
    pub inactive: usize,
}

pub async fn sweep(app: &App) -> anyhow::Result<Swept> {
    let mut swept = Swept::default();
    let mut by_component = BTreeMap::new();
    loop {
        let removed = store::delete_expired(&app.db, BATCH).await?;
        swept.expired += note(&mut by_component, &removed);
        if is_last(&removed) {
            break;
        }
    }
    let own: Vec<(&str, Option<Duration>)> = app
        .agents
        .iter()
        .filter_map(|agent| Some((agent.settings.id.as_str(), agent.settings.retention.as_ref()?.sessions_after)))
        .collect();
    let with_own: Vec<&str> = own.iter().map(|(id, _)| *id).collect();
    let of_each = own.iter().map(|(id, after)| (Some(*id), *after));
    for (component_id, after) in of_each.chain([(None, app.settings.retention.sessions_after)]) {
        let Some(ago) = after else { continue };
        loop {
            let removed = store::delete_inactive(&app.db, component_id, &with_own, ago, BATCH).await?;
            swept.inactive += note(&mut by_component, &removed);
            if is_last(&removed) {
                break;
            }
        }
    }
    for (component, sessions) in by_component {
        tracing::info!(component, sessions, "Removed sessions that had expired, or were not used any more.");
    }
    Ok(swept)
}

fn note(by_component: &mut BTreeMap<String, usize>, removed: &[Option<String>]) -> usize {
    for component in removed {
        *by_component.entry(component.clone().unwrap_or_default()).or_default() += 1;
    }
    removed.len()
}

fn is_last(removed: &[Option<String>]) -> bool {
    removed.len() < usize::try_from(BATCH).unwrap_or(usize::MAX)
}
