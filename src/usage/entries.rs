//! The form in which `sessions.usage` keeps token usage: an entry for each purpose, provider and model, named by the
//! three with a line break between them, with six numbers.

use std::collections::BTreeMap;

use super::Purpose;
use crate::model::{ModelInfo, ModelUsage, Usage, UsageDetails};

/// A stored `sessions.usage`.
pub type Entries = BTreeMap<String, Vec<i64>>;

/// The usage as the arguments `names` and `numbers` of the SQL function `add_usage`.
pub fn entries(purpose: Purpose, models: &[ModelUsage]) -> (Vec<String>, Vec<i64>) {
    let names = models.iter().map(|ModelUsage { model, .. }| {
        format!("{}\n{}\n{}", purpose.as_str(), model.provider.replace('\n', " "), model.id)
    });
    let numbers = models.iter().flat_map(|ModelUsage { usage, .. }| {
        [
            usage.input_tokens,
            usage.output_tokens,
            usage.total_tokens,
            usage.reasoning_tokens,
            usage.cache_read_tokens,
            usage.cache_write_tokens,
        ]
    });
    (names.collect(), numbers.collect())
}

/// The usage by purpose. Titles count as part of the runs, as do purposes that only a newer build knows.
pub fn details(entries: Entries) -> UsageDetails {
    let mut details = UsageDetails::default();
    for (name, numbers) in entries {
        let mut parts = name.splitn(3, '\n').map(str::to_owned);
        let purpose = parts.next().unwrap_or_default();
        let provider = parts.next().unwrap_or_default();
        let id = parts.next().unwrap_or_default();
        let number = |place: usize| numbers.get(place).copied().unwrap_or_default();
        let usage = Usage {
            input_tokens: number(0),
            output_tokens: number(1),
            total_tokens: number(2),
            reasoning_tokens: number(3),
            cache_read_tokens: number(4),
            cache_write_tokens: number(5),
        };
        let models = match purpose.as_str() {
            "summary" => &mut details.session_summary_model,
            "memory" => &mut details.memory_model,
            _ => &mut details.model,
        };
        models.push(ModelUsage { model: ModelInfo { id, provider }, usage });
    }
    details
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_read_again_by_purpose() {
        let usage = |number| ModelUsage {
            model: ModelInfo { id: format!("model\n{number}"), provider: "OpenAI".into() },
            usage: Usage {
                input_tokens: number,
                output_tokens: 2,
                total_tokens: 3,
                reasoning_tokens: 4,
                cache_read_tokens: 5,
                cache_write_tokens: 6,
            },
        };
        let mut stored = Entries::new();
        for (purpose, models) in
            [(Purpose::Run, vec![usage(1), usage(2)]), (Purpose::Summary, vec![usage(3)]), (Purpose::Memory, vec![])]
        {
            let (names, numbers) = entries(purpose, &models);
            stored.extend(names.into_iter().zip(numbers.chunks(6).map(<[i64]>::to_vec)));
        }
        let read = details(stored);
        assert_eq!(read.model, [usage(1), usage(2)]);
        assert_eq!(read.session_summary_model, [usage(3)]);
        assert!(read.memory_model.is_empty());
    }
}
