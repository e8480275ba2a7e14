//! Conversations with the offline model, as a user would have them.

use serde_json::json;

use super::*;
use crate::llm::ToolSpec;

/// Sends the user's turns one by one, with the model's replies in between. Returns the last reply.
fn converse(system: Option<&str>, turns: &[&str]) -> String {
    let mut request = ModelRequest { system: system.map(str::to_owned), ..ModelRequest::default() };
    for turn in turns {
        request.messages.push(PromptMessage::User((*turn).to_owned()));
        let content = complete(&request).content;
        request.messages.push(PromptMessage::Assistant { content, tool_calls: Vec::new() });
    }
    let Some(PromptMessage::Assistant { content: Some(reply), .. }) = request.messages.pop() else {
        panic!("the offline model always says something here");
    };
    reply
}

fn say(turns: &[&str]) -> String {
    converse(None, turns)
}

#[test]
fn it_knows_the_name_it_was_told() {
    assert_eq!(say(&["My name is Alice."]), "Nice to meet you, Alice.");
    assert_eq!(say(&["My name is Alice.", "What's my name?"]), "Your name is Alice.");
    assert_eq!(say(&["Hi, I’m Łukasz!", "who am i"]), "Your name is Łukasz.");
    assert_eq!(say(&["call me Bob", "Do you remember my name?"]), "Your name is Bob.");
    assert_eq!(say(&["My name is Alice. What is my name?"]), "Your name is Alice.");
    assert_eq!(say(&["My name is Alice, can you remember that?", "WHATS MY NAME??"]), "Your name is Alice.");
}

#[test]
fn a_correction_replaces_what_was_said() {
    assert_eq!(say(&["I'm Alice", "Actually, call me Bob"]), "Noted: your name is Bob.");
    assert_eq!(say(&["I'm Alice", "Actually, call me Bob", "What's my name?"]), "Your name is Bob.");
    assert_eq!(
        say(&["My favorite color is red", "Sorry, my favourite colour is blue.", "What's my favorite color?"]),
        "Your favorite color is blue."
    );
    assert_eq!(
        say(&["I like rain", "I don't like rain anymore", "Do I like rain?"]),
        "No, you said that you don't like rain."
    );
}

#[test]
fn it_knows_what_the_user_likes() {
    assert_eq!(say(&["I like pizza"]), "Noted: you like pizza.");
    let said = "I love pizza, especially margherita.";
    assert_eq!(say(&[said, "What food do I like?"]), "You like pizza, especially margherita.");
    assert_eq!(say(&["I like pizza", said, "what do i like"]), "You like pizza, especially margherita.");
    assert_eq!(say(&["I like tea and I enjoy chess", "What do I like?"]), "You like tea and chess.");
    assert_eq!(say(&["I like pizza", "Do I like pizza?"]), "Yes, you like pizza.");
}

#[test]
fn several_sentences_are_all_heard() {
    let said = "Hello! I'm Ann and I live in Oslo. My dog's name is Rex";
    assert_eq!(say(&[said]), "Nice to meet you, Ann. Noted: you live in Oslo. Noted: your dog's name is Rex.");
    assert_eq!(say(&[said, "Where do I live? What's my dog's name?"]), "You live in Oslo. Your dog's name is Rex.");
    assert_eq!(
        say(&[said, "What do you know about me?"]),
        "This is what I know: your name is Ann, your dog's name is Rex and you live in Oslo."
    );
}

#[test]
fn a_question_is_no_statement() {
    assert_eq!(
        say(&["Do I like pizza?", "What do I like?"]),
        "I don't know what you like: nothing that I was shown of this conversation says it."
    );
    assert_eq!(
        say(&["Is my name Alice?", "Who am I?"]),
        "I don't know your name: nothing that I was shown of this conversation says it."
    );
}

#[test]
fn its_own_replies_are_no_facts() {
    let messages = vec![
        PromptMessage::User("hi".into()),
        PromptMessage::Assistant { content: Some("My name is HAL. I like chess.".into()), tool_calls: Vec::new() },
        PromptMessage::User("What's my name?".into()),
    ];
    let request = ModelRequest {
        system: Some("You are Max. My name is Max. I like jokes.".into()),
        messages,
        ..ModelRequest::default()
    };
    let reply = complete(&request).content.unwrap();
    assert_eq!(reply, "I don't know your name: nothing that I was shown of this conversation says it.");
}

#[test]
fn memories_count_wherever_the_prompt_puts_them() {
    let system = "Be kind.\n<memories>\n- User's name is Alice\n- The user likes anime.\n</memories>";
    assert_eq!(converse(Some(system), &["What's my name?"]), "Your name is Alice.");
    assert_eq!(
        converse(Some(system), &["What do you suggest I do this weekend?"]),
        "You like anime: how about making time for that this weekend?"
    );
    let message = "<context>\n<memories>\n* The user&#39;s favorite color is blue\n</memories>\n</context>\n\nWhat’s my favorite color?";
    assert_eq!(say(&[message]), "Your favorite color is blue.");
}

#[test]
fn what_was_said_goes_before_an_older_memory() {
    let message = "<memories>\n- User's name is Alice\n</memories>\nWhat's my name?";
    assert_eq!(say(&["Call me Bob.", message]), "Your name is Bob.");
}

#[test]
fn it_quotes_what_was_said_before() {
    let turns = ["The sky is green.", "I like tea.", "What did I say before?"];
    assert_eq!(say(&turns), "You last said: “I like tea.”");
    assert_eq!(
        say(&["The sky is green.", "I like tea.", "What did I say first?"]),
        "You first said: “The sky is green.”"
    );
    assert_eq!(say(&["What did I say before?"]), "This conversation holds no earlier message.");
}

#[test]
fn asked_for_more_it_shows_that_it_knows_of_what() {
    let reply = say(&["Tell me about space", "Tell me more"]);
    assert!(reply.contains("Tell me about space") && reply.contains("OPENAI_API_KEY"), "{reply}");
}

#[test]
fn what_it_cannot_answer_it_says_with_the_remedy() {
    insta::assert_snapshot!(
        say(&["What is the capital of France?"]),
        @"I cannot answer “What is the capital of France?”: I am the built-in offline responder and answer from the conversation alone. Configure a model, for example by OPENAI_API_KEY, to get real answers."
    );
    insta::assert_snapshot!(
        say(&["I'm Ann", "hello"]),
        @"Hello, Ann! By the way, I am the built-in offline responder and answer from the conversation alone. Configure a model, for example by OPENAI_API_KEY, to get real answers."
    );
}

fn with_tool(name: &'static str, parameters: serde_json::Value, message: &str) -> ModelRequest {
    ModelRequest {
        messages: vec![PromptMessage::User(message.into())],
        tools: vec![ToolSpec { name, description: "", parameters }],
        ..ModelRequest::default()
    }
}

/// Plays the tool: appends the model's call and the tool's result, and returns the final answer.
fn after_tool(mut request: ModelRequest, content: &str) -> String {
    let tool_calls = complete(&request).tool_calls;
    let (call_id, name) = (tool_calls[0].id.clone(), tool_calls[0].name.clone());
    request.messages.push(PromptMessage::Assistant { content: None, tool_calls });
    request.messages.push(PromptMessage::Tool { call_id, name, content: content.into() });
    complete(&request).content.unwrap()
}

#[test]
fn the_history_tool_is_asked_when_the_context_has_no_earlier_message() {
    let request = with_tool("get_chat_history", json!({"type": "object"}), "What did I say first?");
    let history = r#"[{"role": "user", "content": "I like tea"}, {"role": "assistant", "content": "Noted"}]"#;
    assert_eq!(after_tool(request.clone(), history), "You first said: “I like tea”");
    assert_eq!(after_tool(request, "[]"), "The chat history holds no earlier message.");
}

#[test]
fn the_state_tool_is_used_when_a_value_is_to_be_set() {
    let parameters = json!({"type": "object", "properties": {"session_state_updates": {"type": "object"}}});
    let request = with_tool("update_session_state", parameters, "Please set the color to blue.");
    assert_eq!(complete(&request).tool_calls[0].arguments, json!({"session_state_updates": {"color": "blue"}}));
    assert_eq!(after_tool(request, "ok"), "Done: color is now blue.");
    let request = with_tool("update_session_state", json!({}), "Remember in the state that max count = 3");
    assert_eq!(complete(&request).tool_calls[0].arguments, json!({"max_count": 3}));
}

#[test]
fn another_tools_result_is_passed_on() {
    let mut request = with_tool("get_weather", json!({}), "How is the weather?");
    assert!(complete(&request).tool_calls.is_empty());
    request.messages.push(PromptMessage::Tool {
        call_id: "1".into(),
        name: "get_weather".into(),
        content: "Sunny".into(),
    });
    assert_eq!(complete(&request).content.unwrap(), "The tool get_weather answered: “Sunny”");
}

#[test]
fn a_stream_says_the_same_in_pieces_and_counts_tokens() {
    let request = ModelRequest { messages: vec![PromptMessage::User("My name is Alice".into())], ..Default::default() };
    let mut pieces = Vec::new();
    let reply = stream(&request, &mut |piece| pieces.push(piece.to_owned()));
    assert_eq!(pieces, ["Nice ", "to ", "meet ", "you, ", "Alice."]);
    assert_eq!(reply.content.unwrap(), pieces.concat());
    assert_eq!((reply.usage.input_tokens, reply.usage.output_tokens, reply.usage.total_tokens), (4, 6, 10));
}

proptest::proptest! {
    #[test]
    fn any_text_is_answered(system in ".*", first in "\\PC*", second in "(My|I|What|<memories>|’|é|. |\\PC)*") {
        let reply = converse(Some(&system), &[&first, &second]);
        proptest::prop_assert!(!reply.is_empty());
    }
}

#[test]
fn what_others_are_or_say_is_no_fact_about_the_user() {
    for said in
        ["My sister likes pizza", "You like pizza", "If I like pizza, so what", "It's Monday", "I'm Bob's friend"]
    {
        assert_eq!(
            say(&[said, "What do I like?"]),
            "I don't know what you like: nothing that I was shown of this conversation says it."
        );
        assert_eq!(
            say(&[said, "Who am I?"]),
            "I don't know your name: nothing that I was shown of this conversation says it."
        );
    }
}

#[test]
fn it_answers_in_fitting_words() {
    let colors = "My favourite colors are red and green";
    assert_eq!(say(&[colors, "What's my favorite color?"]), "Your favourite colors are red and green.");
    assert_eq!(say(&["My cat is called Tom", "What is my cat called?"]), "Your cat is called Tom.");
    assert_eq!(say(&["I'm 30 years old", "How old am I?"]), "Your age is 30.");
    assert_eq!(
        say(&["Where do I live?"]),
        "I don't know where you live: nothing that I was shown of this conversation says it."
    );
}

#[test]
fn a_request_to_remember_is_a_statement() {
    assert_eq!(say(&["Can you remember that I like jazz?"]), "Noted: you like jazz.");
    assert_eq!(say(&["Could you call me Bob?", "Who am I?"]), "Your name is Bob.");
}
