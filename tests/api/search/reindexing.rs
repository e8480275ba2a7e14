//! Another text search configuration.

use serde_json::json;

use crate::support::TestApp;

async fn hits(app: &TestApp, query: &str) -> usize {
    let found = app.post("/search", json!({"query": query, "user_id": "alice"})).await.expect(200);
    found["data"].as_array().unwrap().len()
}

#[tokio::test]
async fn what_is_stored_has_its_words_anew_after_a_reindex() {
    let app = TestApp::with(|settings| settings.search.text_config = "simple".into()).await;
    app.run(json!({"message": "We went running", "user_id": "alice"})).await.expect(200);
    app.post("/memories", json!({"user_id": "alice", "memory": "The user runs marathons."})).await.expect(200);
    assert_eq!((hits(&app, "running").await, hits(&app, "run").await), (2, 0));
    let reindexed = colloquy::testing::search::reindex(&app.app.db, "english").await.unwrap();
    assert_eq!((reindexed.messages, reindexed.memories), (4, 2), "those of the decoy, too");

    let database =
        sqlx::query_scalar::<_, String>("select words::text from memories").fetch_one(app.db()).await.unwrap();
    assert!(database.contains("'marathon'"), "{database}");
    let words: Vec<String> =
        sqlx::query_scalar("select words::text from messages order by index").fetch_all(app.db()).await.unwrap();
    assert!(words.iter().all(|words| words.contains("'run'")), "{words:?}");
    // Once more, and nothing is written.
    let versions = "select array_agg(version order by version) from (
                        select xmin::text as version from public.runs union all select xmin::text from public.outcomes
                    ) all_of_them";
    let before: Vec<String> = sqlx::query_scalar(versions).fetch_one(app.db()).await.unwrap();
    colloquy::testing::search::reindex(&app.app.db, "english").await.unwrap();
    let after: Vec<String> = sqlx::query_scalar(versions).fetch_one(app.db()).await.unwrap();
    assert_eq!(before, after);
}
