//! Retention: deletes sessions that have expired, or have been inactive for too long.
//!
//! [`sweep`] is a scheduled job. It goes from tenant to tenant, deletes in small batches, each in its own transaction, so
//! that it never blocks others for long, and logs what it deleted.

use std::{collections::BTreeMap, time::Duration};

use super::store::{self, BATCH};
use crate::app::App;

/// Number of sessions deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    pub expired: usize,
    pub inactive: usize,
}

pub async fn sweep(app: &App) -> anyhow::Result<Swept> {
    let own: Vec<(&str, Option<Duration>)> = app
        .agents
        .iter()
        .filter_map(|agent| Some((agent.settings.id.as_str(), agent.settings.retention.as_ref()?.sessions_after)))
        .collect();
    let with_own: Vec<&str> = own.iter().map(|(id, _)| *id).collect();
    let of_each = own.iter().map(|(id, after)| (Some(*id), *after));
    let of_all = of_each.chain([(None, app.settings.retention.sessions_after)]);
    let limits: Vec<(Option<&str>, Duration)> = of_all.filter_map(|(id, after)| Some((id, after?))).collect();
    let mut swept = Swept::default();
    let mut by_component = BTreeMap::new();
    let mut tenants = store::tenants(&app.db, "").await?;
    while let Some(last) = tenants.last() {
        loop {
            let removed = store::delete_expired(&app.db, &tenants).await?;
            swept.expired += note(&mut by_component, &removed);
            if removed.len() < BATCH {
                break;
            }
        }
        for (component_id, ago) in &limits {
            loop {
                let removed = store::delete_inactive(&app.db, &tenants, *component_id, &with_own, *ago).await?;
                swept.inactive += note(&mut by_component, &removed);
                if removed.len() < BATCH {
                    break;
                }
            }
        }
        tenants = store::tenants(&app.db, last).await?;
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
