//! One conversation after another, until every route of the contract has been used with success.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use colloquy::testing::{
    api::router::contract,
    config::{ModelSettings, Provider, Settings},
    idempotency,
    jobs::{Job, enqueue},
    memories, search,
    sessions::retention,
};
use regex::Regex;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    search::vectors::{embedding, with_embeddings},
    support::{
        TestApp,
        scripted_model::{Behaviour, Gate, echo, held, reply, reply_with_tool_call},
    },
};

/// An agent that answers offline, learns and folds; another one that does as the script says; and vectors.
pub(super) fn settings(settings: &mut Settings) {
    with_embeddings(settings);
    let scripted = settings.models.remove("fast").unwrap();
    settings.models.insert("scripted".into(), scripted);
    settings.models.insert("offline".into(), ModelSettings::new(Provider::Offline, ""));
    let assistant = &mut settings.agents[0];
    assistant.model = Some("offline".into());
    assistant.update_memory_on_run = true;
    assistant.enable_session_summaries = true;
    assistant.history.max_runs = Some(4);
    assistant.auto_title = true;
    let mut scripted = assistant.clone();
    scripted.id = "scripted".into();
    scripted.model = Some("scripted".into());
    (scripted.update_memory_on_run, scripted.enable_session_summaries, scripted.auto_title) = (false, false, false);
    scripted.read_chat_history = true;
    scripted.search_past_sessions = true;
    settings.agents.push(scripted);
    settings.retention.sessions_after = Some(Duration::from_hours(24));
    settings.webhooks.secret = Some("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned().into());
    settings.webhooks.allow_private = true;
}

/// Uses the app, and remembers what it has asked for.
pub(super) struct Scenario<'a, F> {
    pub(super) app: &'a TestApp,
    /// Called after every request, with what was asked for.
    pub(super) after_each: F,
    /// What the agent `scripted` answers next; the model is asked for vectors as well.
    script: Arc<Mutex<VecDeque<Behaviour>>>,
    asked: BTreeSet<String>,
}

impl<'a, F: AsyncFnMut(&str)> Scenario<'a, F> {
    pub(super) fn new(app: &'a TestApp, after_each: F) -> Self {
        let script = Arc::new(Mutex::new(VecDeque::new()));
        app.model.otherwise({
            let (mut embed, script) = (embedding(8), script.clone());
            move |request| {
                let is_text = request["input"].is_array();
                if is_text {
                    embed(request)
                } else {
                    script.lock().unwrap().pop_front().unwrap_or_else(|| echo(request))
                }
            }
        });
        Self { app, after_each, script, asked: BTreeSet::new() }
    }

    async fn send(&mut self, method: Method, path: &str, body: Option<Value>, key: Option<&str>) -> String {
        let mut request = self.app.request(method.clone(), path);
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = self.app.send(request).await;
        let asked = format!("{method} {}", path.split('?').next().unwrap());
        assert!(answer.status.is_success(), "{asked}: {answer:?}");
        (self.after_each)(&asked).await;
        self.asked.insert(asked);
        answer.text
    }

    async fn ask(&mut self, method: Method, path: &str, body: Value) -> Value {
        let text = self.send(method, path, Some(body), None).await;
        serde_json::from_str(&text).unwrap_or_default()
    }

    async fn get(&mut self, path: &str) -> Value {
        serde_json::from_str(&self.send(Method::GET, path, None, None).await).unwrap_or_default()
    }

    async fn post(&mut self, path: &str, body: Value) -> Value {
        self.ask(Method::POST, path, body).await
    }

    async fn say(&mut self, agent: &str, session: &str, user: Option<&str>, message: &str) -> Value {
        let body = json!({"message": message, "session_id": session, "user_id": user});
        let run = self.post(&format!("/agents/{agent}/runs"), body).await;
        assert_eq!(run["status"], "COMPLETED", "{run}");
        run
    }

    fn script(&self, behaviours: impl IntoIterator<Item = Behaviour>) {
        self.script.lock().unwrap().extend(behaviours);
    }

    async fn do_jobs(&mut self) {
        self.app.execute("update graphile_worker._private_jobs set run_at = now()").await;
        self.app.do_jobs().await;
        (self.after_each)("jobs").await;
    }

    /// Everything, with the routes that were not used in the end.
    pub(super) async fn play(mut self) -> Vec<String> {
        self.talk().await;
        self.look().await;
        self.remember().await;
        self.change().await;
        self.sweep().await;
        self.unused()
    }

    async fn talk(&mut self) {
        let created = json!({"session_id": "made", "user_id": "alice", "session_name": "Made", "metadata": {"a": 1}});
        self.send(Method::POST, "/sessions", Some(created), Some("make")).await;
        for message in
            ["My name is Alice and I live in Oslo", "I like tea", "I have a dog", "Hello", "Bye", "Hello again"]
        {
            self.say("assistant", "alices", Some("alice"), message).await;
        }
        self.say("assistant", "nobodys", None, "I like cake").await;
        self.say("assistant", "nobodys", Some("alice"), "I like jam").await;
        self.do_jobs().await;
        self.script([reply_with_tool_call("get_chat_history", "{}"), reply("Nothing.")]);
        self.say("scripted", "alices", Some("alice"), "What did I say?").await;
        let search = r#"{"query": "tea"}"#;
        self.script([reply_with_tool_call("search_past_sessions", search), reply("Tea.")]);
        self.say("scripted", "bobs", Some("bob"), "What did I like?").await;

        let keyed = json!({"message": "Once", "session_id": "keyed", "user_id": "alice", "session_state": {"a": 1}});
        for _ in 0..2 {
            self.send(Method::POST, "/agents/assistant/runs", Some(keyed.clone()), Some("run")).await;
        }
        let streamed = json!({"message": "Streamed", "session_id": "keyed", "user_id": "alice", "stream": true});
        self.post("/agents/assistant/runs", streamed).await;
        // One that runs, one that waits behind it, one that is cancelled meanwhile.
        let gate = Gate::closed();
        self.script([held(&gate, reply("At last"))]);
        let mut runs = Vec::new();
        for session in ["queue", "queue", "other"] {
            let body = json!({"message": "Later", "session_id": session, "user_id": "alice", "background": true,
                              "webhook_url": "http://127.0.0.1:9/"});
            runs.push(self.post("/agents/scripted/runs", body).await["run_id"].as_str().unwrap().to_owned());
        }
        self.post(&format!("/agents/scripted/runs/{}/cancel", runs[1]), json!({})).await;
        gate.open();
        for run in &runs {
            self.send(Method::GET, &format!("/agents/scripted/runs/{run}/events"), None, None).await;
            self.send(Method::POST, &format!("/agents/scripted/runs/{run}/resume"), Some(json!({})), None).await;
            self.get(&format!("/agents/scripted/runs/{run}?user_id=alice")).await;
        }
        self.do_jobs().await;
        self.app.execute("update graphile_worker._private_jobs set attempts = max_attempts").await;
        let jobs = self.get("/jobs").await;
        let job = jobs["data"][0]["job_id"].clone();
        self.post(&format!("/jobs/{job}/retry"), json!({})).await;
        self.app.execute("delete from graphile_worker._private_jobs").await;
    }

    async fn look(&mut self) {
        for path in ["/", "/info", "/config", "/models", "/health", "/ready", "/agents", "/agents/assistant"] {
            self.get(path).await;
        }
        let filters = [
            "",
            "type=agent",
            "component_id=assistant",
            "session_name=a",
            "start_timestamp=1&end_timestamp=4000000000",
            "updated_after=1&updated_before=4000000000",
            "archived=all",
            "archived=true",
            "pinned=true",
            "has_summary=true",
            "q=tea",
            "q=tea&session_name=a",
            "q=tea&metadata.a=1",
            "metadata.a=1",
            "include_total=false",
        ];
        for filter in filters {
            for user in ["", "user_id=alice"] {
                for sort in ["created_at", "updated_at", "session_name"] {
                    let page = format!("/sessions?{filter}&{user}&sort_by={sort}");
                    let next = self.get(&format!("{page}&limit=1")).await["meta"]["next_cursor"].clone();
                    if let Some(cursor) = next.as_str() {
                        self.get(&format!("{page}&limit=1&cursor={cursor}")).await;
                    }
                    self.get(&format!("{page}&limit=1&page=2&sort_order=asc")).await;
                }
            }
        }
        for user in ["", "user_id=alice"] {
            let session = self.get(&format!("/sessions/alices?messages_limit=3&{user}")).await;
            let cursor = session["messages_cursor"].as_str().unwrap();
            self.get(&format!("/sessions/alices?messages_before={cursor}&{user}")).await;
            for order in ["asc", "desc"] {
                let page = format!("/sessions/alices/messages?sort_order={order}&limit=2&{user}");
                let next = self.get(&page).await["meta"]["next_cursor"].as_str().unwrap().to_owned();
                self.get(&format!("{page}&cursor={next}")).await;
            }
            let runs = format!(
                "/sessions/alices/runs?status=completed&created_after=1&created_before=4000000000&limit=5&{user}"
            );
            let run = self.get(&runs).await[0]["run_id"].as_str().unwrap().to_owned();
            self.get(&runs.replace("/runs", "/run-previews")).await;
            self.get(&format!("/sessions/alices/runs/{run}?{user}")).await;
            self.get(&format!("/agents/assistant/runs?session_id=alices&{user}")).await;
            self.send(Method::GET, &format!("/sessions/alices/export?{user}"), None, None).await;
            self.get(&format!("/sessions/alices/summaries?{user}")).await;
            self.get(&format!("/sessions/alices/context?agent_id=assistant&message=tea&{user}")).await;
        }
        for body in [
            json!({"query": "Who has a puppy?", "user_id": "alice", "explain": true}),
            json!({"query": "tea", "user_id": "alice", "from": "2020-01-01T00:00:00Z", "to": "2120-01-01T00:00:00Z"}),
            json!({"query": "tea", "session_id": "alices", "types": ["message"]}),
            json!({"query": "tea", "user_id": "alice", "types": ["memory"]}),
        ] {
            self.post("/search", body).await;
        }
    }

    async fn remember(&mut self) {
        let told = json!({"user_id": "alice", "memory": "Alice likes jazz.", "topics": ["music"]});
        let mut ids = Vec::new();
        for memory in
            ["Alice likes jazz.", "Alice likes jazz", "Alice likes blues.", "Alice works in Bergen.", "Alice sings."]
        {
            let mut told = told.clone();
            told["memory"] = json!(memory);
            ids.push(self.post("/memories", told).await["memory_id"].as_str().unwrap().to_owned());
        }
        self.do_jobs().await;
        self.get("/memories").await;
        for sort in ["updated_at", "created_at", "memory"] {
            let page = format!("/memories?user_id=alice&topics=music&search_content=jazz&sort_by={sort}");
            let answer = self.app.get(&page).await;
            assert!(answer.status == 200 || answer.status == 422, "{page}: {answer:?}");
        }
        self.get(&format!("/memories/{}?user_id=alice", ids[0])).await;
        self.get(&format!("/memories/{}", ids[0])).await;
        self.ask(Method::PATCH, &format!("/memories/{}", ids[0]), json!({"memory": "Alice likes bebop."})).await;
        self.get(&format!("/memories/{}/history?user_id=alice", ids[0])).await;
        self.get("/memory_topics?user_id=alice").await;
        self.get("/user_memory_stats?user_id=alice").await;
        let question = json!({"query": "music", "user_id": "alice", "topics": ["music"], "explain": true});
        self.post("/memories/search", question).await;
        self.post("/memories/extract", json!({"text": "I like opera", "user_id": "alice"})).await;
        self.post("/optimize-memories", json!({"user_id": "alice", "model": "offline", "apply": true})).await;
        self.send(Method::DELETE, &format!("/memories/{}", ids[3]), None, None).await;
        self.ask(Method::DELETE, "/memories", json!({"memory_ids": [ids[4]], "user_id": "alice"})).await;
    }

    async fn change(&mut self) {
        let session = "/sessions/alices";
        self.post(&format!("{session}/rename"), json!({"session_name": "Alice's"})).await;
        let change = json!({"session_state": {"b": 2}, "metadata": {"c": 3}, "archived": false, "pinned": false});
        self.ask(Method::PATCH, &format!("{session}?user_id=alice"), change).await;
        let said = json!({"user_id": "alice", "agent_id": "assistant", "messages": [
            {"role": "user", "content": "I like cats"}, {"role": "assistant", "content": "Who does not?"},
        ]});
        self.send(Method::POST, "/sessions/elsewhere/messages", Some(said), Some("said")).await;
        self.do_jobs().await;
        self.post(&format!("{session}/summarize?agent_id=assistant&keep_runs=1"), json!({})).await;
        self.post(&format!("{session}/fork"), json!({"session_id": "copy"})).await;
        self.post(&format!("/agents/assistant{session}/fork"), json!({})).await;
        let exported = self.send(Method::GET, &format!("{session}/export"), None, None).await;

        let runs = self.get(&format!("{session}/runs")).await;
        let run = |at: usize| runs[at]["run_id"].as_str().unwrap().to_owned();
        let newest = run(runs.as_array().unwrap().len() - 1);
        self.post(&format!("/agents/scripted/runs/{newest}/continue"), json!({"regenerate": true, "user_id": "alice"}))
            .await;
        let fork = json!({"fork": true, "input": "And then?", "user_id": "alice"});
        self.post(&format!("/agents/assistant/runs/{}/continue", run(1)), fork).await;
        let page = self.get(&format!("{session}/messages?sort_order=asc")).await;
        // Of the first run the answer, then the question.
        for at in [1, 0] {
            let message = page["data"][at]["id"].as_str().unwrap();
            self.send(Method::DELETE, &format!("{session}/messages/{message}"), None, None).await;
        }
        self.send(Method::DELETE, &format!("{session}/runs/{}", run(2)), None, None).await;
        self.do_jobs().await;
        self.send(Method::DELETE, session, None, None).await;
        let request = self.app.request(Method::POST, "/sessions/import?user_id=alice");
        let imported = self.app.send(request.header("content-type", "application/x-ndjson").body(exported)).await;
        assert!(imported.status.is_success(), "{imported:?}");
        self.asked.insert("POST /sessions/import".to_owned());
        (self.after_each)("POST /sessions/import").await;

        self.ask(Method::DELETE, "/sessions", json!({"session_ids": ["copy", "made"]})).await;
        for filter in [json!({"session_name": "e"}), json!({"q": "tea"}), json!({"metadata": {"a": 1}})] {
            self.ask(Method::DELETE, "/sessions", json!({"filter": filter, "dry_run": true})).await;
            self.ask(Method::DELETE, "/sessions?user_id=alice", json!({"filter": filter})).await;
        }
        self.send(Method::GET, "/users/alice/export", None, None).await;
        self.send(Method::DELETE, "/users/alice", None, None).await;
    }

    async fn sweep(&mut self) {
        self.say("assistant", "old", Some("carol"), "I like rain").await;
        self.say("assistant", "late", Some("carol"), "I like snow").await;
        self.post("/memories", json!({"user_id": "carol", "memory": "Carol likes fog."})).await;
        self.app
            .execute(
                "update sessions set updated_at = now() - interval '2 days' where session_id = 'old';
                 update sessions set expires_at = now() - interval '1 minute' where session_id = 'late';
                 update memories set expires_at = now() - interval '1 minute';
                 update run_events set created_at = now() - interval '30 days';
                 update idempotency_keys set created_at = now() - interval '2 days'",
            )
            .await;
        let app = &self.app.app;
        retention::sweep(app).await.unwrap();
        memories::service::sweep(app).await.unwrap();
        memories::extraction::sweep(app).await.unwrap();
        idempotency::sweep(app).await.unwrap();
        search::vectors::start(app).await.unwrap();
        for job in [Job::CleanUp, Job::EmbedNew, Job::TidyQueue] {
            let mut tx = colloquy::testing::database::begin(&app.db).await.unwrap();
            enqueue(app, &mut tx, &job).await.unwrap();
            tx.commit().await.unwrap();
        }
        self.do_jobs().await;
        search::reindex(&app.db, "english").await.unwrap();
        (self.after_each)("sweeps").await;
    }

    /// The routes of the contract that nothing has asked for.
    fn unused(&self) -> Vec<String> {
        let contract = serde_json::to_value(contract()).expect("the contract is JSON");
        let parameter = Regex::new(r"\{\w+\}").unwrap();
        let mut unused = Vec::new();
        for (path, methods) in contract["paths"].as_object().unwrap() {
            for method in methods.as_object().unwrap().keys() {
                let route = format!("{} {path}", method.to_uppercase());
                let pattern = Regex::new(&format!("^{}$", parameter.replace_all(&route, "[^/]+"))).unwrap();
                if !self.asked.iter().any(|asked| pattern.is_match(asked)) {
                    unused.push(route);
                }
            }
        }
        unused
    }
}
