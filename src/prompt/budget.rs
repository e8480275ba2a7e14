//! The token budget: counts tokens, leaves out whole runs, shortens long texts.
//!
//! What is done to a message depends on the message and the limits alone, never on its neighbours: it looks the same in
//! every prompt that contains it.

use super::{PastRun, text};
use crate::{
    config::HistorySettings,
    llm::count_tokens,
    model::{Message, Role},
};

/// Longer texts are counted up to here, and extrapolated: counting a megabyte takes a tenth of a second.
const COUNTED_BYTES: usize = 64 * 1024;
/// Approximate overhead of a message, beside its text.
pub(super) const TOKENS_PER_MESSAGE: usize = 4;

/// Counts the tokens of a text; estimates those of very long ones.
pub fn tokens_of(text: &str) -> usize {
    if text.len() <= COUNTED_BYTES {
        return count_tokens(text);
    }
    let part = &text[..text.floor_char_boundary(COUNTED_BYTES)];
    count_tokens(part) * text.len() / part.len()
}

/// Size of these messages in a prompt, in tokens.
pub fn tokens_of_messages<'a>(messages: impl IntoIterator<Item = &'a Message>) -> usize {
    messages.into_iter().map(tokens_of_message).sum()
}

/// Size of a message with this text in a prompt, in tokens.
pub fn tokens_of_text(text: &str) -> usize {
    TOKENS_PER_MESSAGE + tokens_of(text)
}

fn tokens_of_message(message: &Message) -> usize {
    let calls = message.tool_calls.iter().flatten();
    let calls: usize = calls.map(|call| count_tokens(&call.name) + tokens_of(&call.arguments.to_string())).sum();
    TOKENS_PER_MESSAGE + calls + message.content.as_deref().map_or(0, tokens_of)
}

/// The text, or as much of its beginning and end as fits `max_tokens`, with a marker between them that is not counted.
pub fn shorten(text: &str, max_tokens: usize) -> String {
    // A token has at least one byte, so most texts need not be counted.
    if text.len() <= max_tokens {
        return text.to_owned();
    }
    let mut tokens = tokens_of(text);
    if tokens <= max_tokens {
        return text.to_owned();
    }
    let mut kept = text.len();
    loop {
        kept = (kept / tokens.max(1) * max_tokens).min(kept / 10 * 9);
        let head = &text[..text.floor_char_boundary(kept / 3 * 2)];
        let tail = &text[text.ceil_char_boundary(text.len() - kept / 3)..];
        // Counted again, because tokens are not spread evenly over a text.
        tokens = tokens_of(head) + tokens_of(tail);
        if tokens <= max_tokens {
            let left_out = text.chars().count() - head.chars().count() - tail.chars().count();
            return format!("{head}\n[… {left_out} characters are left out here …]\n{tail}");
        }
    }
}

/// The newest runs that fit together, oldest first, and the number of runs left out.
pub(crate) fn fit(runs: Vec<PastRun>, limits: &HistorySettings) -> (Vec<PastRun>, usize) {
    let max = limits.max_tokens as usize;
    let mut total = 0;
    let mut kept: Vec<PastRun> = Vec::with_capacity(runs.len());
    let count = runs.len();
    for run in runs.into_iter().rev() {
        let run = whole_or_reduced(run, max);
        total += run.tokens;
        if total > max && !kept.is_empty() {
            break;
        }
        kept.push(run);
    }
    kept.reverse();
    let left_out = count - kept.len();
    (kept, left_out)
}

/// The run, or, if it is larger than the whole budget, the user's message and the answer, shortened. Tool calls are
/// dropped together with their results.
pub fn whole_or_reduced(run: PastRun, max_tokens: usize) -> PastRun {
    if run.tokens <= max_tokens {
        return run;
    }
    let calls = run.messages.iter().filter(|message| message.role == Role::Tool).count();
    let question = run.messages.iter().position(|message| message.role == Role::User);
    let answer =
        run.messages.iter().rposition(|message| message.role == Role::Assistant && message.tool_calls.is_none());
    let for_each = (max_tokens / 2).saturating_sub(2 * TOKENS_PER_MESSAGE + text::TOKENS_OF_MARKS);
    let mut messages: Vec<Message> = Vec::new();
    for (index, mut message) in run.messages.into_iter().enumerate() {
        if Some(index) != question && Some(index) != answer {
            continue;
        }
        let mut content = shorten(message.content.as_deref().unwrap_or_default(), for_each);
        if Some(index) == question && calls > 0 {
            content.push_str(&text::tool_calls_left_out(calls));
        }
        message.content = Some(content);
        messages.push(message);
    }
    PastRun { seq: run.seq, tokens: tokens_of_messages(&messages), messages }
}

#[cfg(test)]
mod tests {
    use crate::clock;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::model::{AnsweredCall, ToolCall};

    fn limits(max_tokens: u32) -> HistorySettings {
        HistorySettings { max_tokens, ..HistorySettings::default() }
    }

    fn said(role: Role, content: &str) -> Message {
        Message::new(role, Some(content.into()), clock::now())
    }

    /// A run with as many tool calls as asked for.
    fn run(seq: i64, question: &str, calls: usize) -> PastRun {
        let mut messages = vec![said(Role::User, question)];
        for number in 0..calls {
            let id = format!("call_{number}");
            let mut asked = Message::new(Role::Assistant, None, clock::now());
            asked.tool_calls = Some(vec![ToolCall { id: id.clone(), name: "look".into(), arguments: json!({"n": 1}) }]);
            let mut answered = said(Role::Tool, "found it");
            answered.answers = Some(AnsweredCall {
                tool_call_id: id,
                tool_name: "look".into(),
                tool_args: json!({"n": 1}),
                tool_call_error: false,
            });
            messages.extend([asked, answered]);
        }
        messages.push(said(Role::Assistant, "done"));
        PastRun { seq, tokens: tokens_of_messages(&messages), messages }
    }

    #[test]
    fn a_long_text_keeps_its_beginning_and_its_end_and_says_what_is_missing() {
        assert_eq!(shorten("short", 5), "short");
        let text = format!("begin {} end", "Ünïcödé ".repeat(2_000));
        let short = shorten(&text, 100);
        assert!(short.starts_with("begin ") && short.ends_with(" end"), "{short}");
        assert!(short.contains("characters are left out here"), "{short}");
        assert!(tokens_of(&short) < 150, "{}", tokens_of(&short));
    }

    #[test]
    fn very_long_texts_are_reckoned() {
        let text = "some words and more ".repeat(10_000);
        let (reckoned, counted) = (tokens_of(&text), count_tokens(&text));
        assert!(reckoned.abs_diff(counted) * 100 < counted, "{reckoned} for {counted}");
    }

    #[test]
    fn a_run_larger_than_the_whole_budget_loses_its_tool_calls_with_their_results() {
        let (kept, left_out) =
            fit(vec![run(1, &"hi ".repeat(400), 0), run(2, &"long ".repeat(5_000), 1_000)], &limits(500));
        assert_eq!((kept.len(), left_out), (1, 1));
        let messages = &kept[0].messages;
        assert_eq!(messages.len(), 2);
        assert!(kept[0].tokens <= 500, "{}", kept[0].tokens);
        assert!(messages[0].content.as_deref().unwrap().contains("1000 tool calls"), "{messages:?}");
        assert_eq!(messages[1].content.as_deref(), Some("done"));
    }

    proptest! {
        #[test]
        fn what_is_kept_is_the_newest_part_whole_and_within_the_budget(
            sizes in prop::collection::vec((0_usize..400, 0_usize..4), 0..12),
            max in 100_u32..1_000,
        ) {
            let runs: Vec<PastRun> = sizes.iter().zip(1..).map(|(&(words, calls), seq)| {
                run(seq, &"word ".repeat(words), calls)
            }).collect();
            let count = runs.len();
            let (kept, left_out) = fit(runs, &limits(max));
            prop_assert_eq!(kept.len() + left_out, count);
            prop_assert!(count == 0 || !kept.is_empty());
            let newest: Vec<usize> = (left_out + 1..=count).collect();
            let seqs: Vec<usize> = kept.iter().map(|run| usize::try_from(run.seq).unwrap()).collect();
            prop_assert_eq!(seqs, newest);
            let tokens: usize = kept.iter().map(|run| tokens_of_messages(&run.messages)).sum();
            prop_assert!(tokens <= max as usize, "{} of {}", tokens, max);
            for messages in kept.iter().map(|run| &run.messages) {
                let calls = messages.iter().flat_map(|message| message.tool_calls.iter().flatten()).count();
                let results = messages.iter().filter(|message| message.answers.is_some()).count();
                prop_assert_eq!(calls, results);
            }
        }
    }
}
