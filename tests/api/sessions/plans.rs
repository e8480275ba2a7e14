//! How lists are carried out: by an index, without the transcripts, whatever the filters.

use chrono::{DateTime, Utc};
use colloquy::testing::{
    model::{Scope, SessionType, TenantId, paging::SortOrder},
    sessions::{
        filter::{Archived, Place, SessionFilter, Sort, SortBy},
        store::{self, Part, Selection, Words},
    },
};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Postgres, QueryBuilder};

use super::list;
use crate::support::TestApp;

/// Where messages are.
const TRANSCRIPTS: [&str; 3] = ["runs", "outcomes", "run_steps"];

fn of_user(user: &str) -> Scope {
    Scope::User(TenantId::DEFAULT, user.to_owned().try_into().unwrap())
}

/// 20,000 sessions of 1,000 users, and 40,000 messages.
async fn app_with_many() -> TestApp {
    let app = TestApp::start().await.without_decoy().await;
    app.execute(
        "insert into sessions (session_id, session_type, component_id, user_id, session_name, metadata, last_seq,
                               created_at, updated_at, archived_at, pinned)
         select 's-' || n, case when n % 500 = 0 then 'team' else 'agent' end::session_type, 'agent-' || n % 200,
                'user-' || n % 1000, 'Talk about ' || md5(n::text), jsonb_build_object('ticket', n, 'even', n % 2 = 0), 1,
                to_timestamp(n * 60), to_timestamp((20001 - n) * 60), case when n % 400 = 0 then now() end, n % 700 = 0
         from generate_series(1, 20000) n;
         create function pg_temp.said(session_id text, index integer) returns text language sql
             return 'talk ' || md5(session_id || index) || case when session_id like '%00' then ' seldom' else '' end;
         insert into runs (session_id, seq, component_id, user_id, is_shared, input, words, created_at, session_created_at)
         select session_id, 1, component_id, user_id, false, text, to_tsvector('simple', text), created_at, created_at
         from sessions, pg_temp.said(session_id, 0) text;
         insert into outcomes (session_id, seq, content, words, finished_at, answered_at, session_created_at)
         select session_id, 1, text, to_tsvector('simple', text), created_at, created_at, created_at
         from sessions, pg_temp.said(session_id, 1) text",
    )
    .await;
    // Not only for the statistics: what waits to be entered into an index makes it look costly.
    app.execute("vacuum (analyze)").await;
    app
}

async fn plan(app: &TestApp, scope: &Scope, filter: &SessionFilter, sort: Sort, part: &Part) -> Value {
    plan_of_some(app, scope, filter, sort, (part, 21)).await
}

async fn plan_of_some(
    app: &TestApp,
    scope: &Scope,
    filter: &SessionFilter,
    sort: Sort,
    part_and_limit: (&Part, i64),
) -> Value {
    let mut sql = QueryBuilder::<Postgres>::new("explain (analyze, format json) ");
    let words = Words::of(&app.app.db, scope, filter, "simple").await.unwrap();
    let selection = Selection::new(&app.app.db, scope, filter, words.as_ref(), Some(sort.by)).await.unwrap();
    store::write_list(&mut sql, selection, sort, part_and_limit);
    let (plan,): (Value,) = sql.build_query_as().persistent(false).fetch_one(&app.app.db).await.unwrap();
    plan[0]["Plan"].clone()
}

/// Every node of a plan: what it does, on which table, and how many rows it has read.
fn nodes(plan: &Value) -> Vec<(String, String, f64)> {
    let text = |key: &str| plan[key].as_str().unwrap_or_default().to_owned();
    let number = |key: &str| plan[key].as_f64().unwrap_or_default();
    let rows = (number("Actual Rows") + number("Rows Removed by Filter")) * number("Actual Loops");
    let children = plan["Plans"].as_array().into_iter().flatten().flat_map(nodes);
    [(text("Node Type"), text("Relation Name"), rows)].into_iter().chain(children).collect()
}

fn filters() -> Vec<(&'static str, SessionFilter)> {
    let time = |minutes: i64| DateTime::<Utc>::from_timestamp(minutes * 60, 0);
    let with = |change: &dyn Fn(&mut SessionFilter)| {
        let mut filter = SessionFilter::default();
        change(&mut filter);
        filter
    };
    vec![
        ("none", with(&|_| {})),
        ("type", with(&|f| f.session_type = Some(SessionType::Team))),
        ("component", with(&|f| f.component_id = Some("agent-7".into()))),
        ("created", with(&|f| (f.created_from, f.created_until) = (time(9_000), time(9_100)))),
        ("updated", with(&|f| (f.updated_from, f.updated_until) = (time(9_000), time(9_100)))),
        ("archived", with(&|f| f.archived = Archived::True)),
        ("pinned", with(&|f| f.pinned = Some(true))),
        ("name", with(&|f| f.session_name = Some("c4ca4238".into()))),
        ("name that all have", with(&|f| f.session_name = Some("talk about".into()))),
        ("metadata", with(&|f| drop(f.metadata.insert("ticket".into(), vec![json!(77)])))),
        ("metadata that half have", with(&|f| drop(f.metadata.insert("even".into(), vec![json!(true)])))),
        (
            "name and metadata",
            with(&|f| {
                f.session_name = Some("c4ca4238".into());
                f.metadata.insert("even".into(), vec![json!(true)]);
            }),
        ),
    ]
}

#[tokio::test]
async fn every_filter_and_order_reads_a_page_by_an_index_and_no_transcript() {
    let app = app_with_many().await;
    let place = list(&app, "limit=1").await["data"][0]["session_id"].as_str().unwrap().to_owned();
    assert_eq!(place, "s-19999");
    for scope in [Scope::Tenant(TenantId::DEFAULT), of_user("user-7")] {
        for (name, filter) in filters() {
            for by in [SortBy::CreatedAt, SortBy::UpdatedAt, SortBy::SessionName] {
                // Few sessions are sorted by their names without an index.
                let is_by_label = name == "none" || name.contains("name") || name.contains("metadata");
                if by == SortBy::SessionName && !is_by_label {
                    continue;
                }
                for order in [SortOrder::Asc, SortOrder::Desc] {
                    let plan = plan(&app, &scope, &filter, Sort { by, order }, &Part::From { offset: 0 }).await;
                    let what = format!("{name} of {scope:?} by {by:?} {order:?}: {plan:#}");
                    for (node, table, rows) in nodes(&plan) {
                        assert!(node != "Seq Scan" || table == "summaries", "{what}");
                        assert!(!TRANSCRIPTS.contains(&table.as_str()), "{what}");
                        assert!(rows < 2_000.0, "{rows} of 20000 rows: {what}");
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn a_value_that_the_statistics_happen_to_know_is_found_and_not_walked_to() {
    let app = app_with_many().await;
    let known = "select (histogram_bounds::text::text[])[50] from pg_stats
                 where tablename = 'session_labels' and attname = ";
    let name: String = sqlx::query_scalar(AssertSqlSafe(format!("{known} 'name'"))).fetch_one(app.db()).await.unwrap();
    let metadata: String =
        sqlx::query_scalar(AssertSqlSafe(format!("{known} 'metadata'"))).fetch_one(app.db()).await.unwrap();
    let ticket = serde_json::from_str::<Value>(&metadata).unwrap()["ticket"].clone();
    let part = name.split(' ').next_back().map(str::to_owned);
    let of_name = SessionFilter { session_name: part.clone(), ..SessionFilter::default() };
    let of_ticket = SessionFilter { metadata: [("ticket".into(), vec![ticket])].into(), ..SessionFilter::default() };
    let searched = SessionFilter { search: part, ..SessionFilter::default() };
    // Once as they are, and once as if they were a million: then the estimate of a hundredth is in doubt.
    for times in [1, 50] {
        let believed = format!("update pg_class set reltuples = {times} * reltuples where relname = 'session_labels'");
        sqlx::query(AssertSqlSafe(believed)).execute(app.db()).await.unwrap();
        for filter in [&of_name, &of_ticket, &searched] {
            for by in [SortBy::CreatedAt, SortBy::UpdatedAt, SortBy::SessionName] {
                let sort = Sort { by, order: SortOrder::Desc };
                // Of so few sessions the planner would walk to the first alone.
                let plan =
                    plan_of_some(&app, &Scope::Tenant(TenantId::DEFAULT), filter, sort, (&Part::From { offset: 0 }, 1))
                        .await;
                let most = nodes(&plan).into_iter().map(|(.., rows)| rows).fold(0.0, f64::max);
                assert!(most < 20.0, "{most} rows for {filter:?} by {by:?}: {plan:#}");
            }
        }
    }
}

#[tokio::test]
async fn a_page_behind_a_cursor_reads_as_many_rows_as_the_first() {
    let app = app_with_many().await;
    for by in ["created_at", "updated_at", "session_name"] {
        let sort = Sort { by: serde_json::from_value(json!(by)).unwrap(), order: SortOrder::Asc };
        let filter = SessionFilter::default();
        let deep = deep_place(&app, by).await;
        let first = plan(&app, &Scope::Tenant(TenantId::DEFAULT), &filter, sort, &Part::From { offset: 0 }).await;
        let after = plan(&app, &Scope::Tenant(TenantId::DEFAULT), &filter, sort, &Part::After(deep)).await;
        let most = |plan: &Value| nodes(plan).into_iter().map(|(.., rows)| rows).fold(0.0, f64::max);
        assert!(most(&after) <= most(&first) + 5.0, "{by}: {after:#}");
    }
}

/// The place of a session in the middle of the list.
async fn deep_place(app: &TestApp, by: &str) -> Place {
    let page = list(app, &format!("sort_by={by}&sort_order=asc&page=150&limit=100&include_total=false")).await;
    let last = page["data"].as_array().unwrap().last().unwrap();
    let key = match by {
        "session_name" => last["session_name"].clone(),
        time => json!(last[time].as_str().unwrap().parse::<DateTime<Utc>>().unwrap().timestamp_micros()),
    };
    serde_json::from_value(json!({"key": key, "session_id": last["session_id"]})).unwrap()
}

#[tokio::test]
async fn a_search_for_a_rare_word_reads_no_more_messages_than_it_finds() {
    let app = app_with_many().await;
    let text = "select content from messages where session_id = 's-77' and index = 1";
    let text: String = sqlx::query_scalar(text).fetch_one(app.db()).await.unwrap();
    let word = text.strip_prefix("talk ").unwrap();
    for search in [word, &text] {
        let filter = SessionFilter { search: Some(search.to_owned()), ..SessionFilter::default() };
        let plan =
            plan(&app, &Scope::Tenant(TenantId::DEFAULT), &filter, Sort::default(), &Part::From { offset: 0 }).await;
        let lookup = format!("(words @@ '''{word}'''::tsquery)");
        assert!(plan.to_string().contains(&lookup), "what all messages have is not looked up: {plan:#}");
        let of_messages = nodes(&plan).into_iter().filter(|(_, table, _)| TRANSCRIPTS.contains(&table.as_str()));
        assert!(of_messages.map(|(.., rows)| rows).sum::<f64>() < 100.0, "{plan:#}");
        let page = list(&app, &format!("q={search}")).await;
        assert_eq!((&page["data"][0]["session_id"], &page["meta"]["total_count"]), (&json!("s-77"), &json!(1)));
    }
}

#[tokio::test]
async fn of_what_a_search_finds_only_the_sessions_of_the_page_are_read() {
    let app = app_with_many().await;
    let filter = SessionFilter { search: Some("seldom".to_owned()), ..SessionFilter::default() };
    let plan = plan(&app, &Scope::Tenant(TenantId::DEFAULT), &filter, Sort::default(), &Part::From { offset: 0 }).await;
    let of_sessions = nodes(&plan).into_iter().filter(|(_, table, _)| table == "sessions");
    assert!(of_sessions.map(|(.., rows)| rows).sum::<f64>() < 60.0, "{plan:#}");

    // Nor are those of others, where whose they are is known.
    let plan = self::plan(&app, &of_user("user-0"), &filter, Sort::default(), &Part::From { offset: 0 }).await;
    let of_sessions = nodes(&plan).into_iter().filter(|(_, table, _)| table == "sessions");
    assert!(of_sessions.map(|(.., rows)| rows).sum::<f64>() < 100.0, "{plan:#}");

    // Every fourth of the 200 is archived.
    let newest_first = || (1..=200).rev().filter(|n| n % 4 != 0).map(|n| format!("s-{n}00"));
    for order in ["asc", "desc"] {
        let (mut read, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = list(&app, &format!("q=seldom&sort_order={order}&limit=40&cursor={cursor}")).await;
            read.extend(page["data"].as_array().unwrap().iter().map(|session| session["session_id"].clone()));
            let Some(next) = page["meta"]["next_cursor"].as_str() else { break };
            next.clone_into(&mut cursor);
        }
        if order == "asc" {
            read.reverse();
        }
        assert_eq!(read, newest_first().collect::<Vec<_>>(), "{order}");
    }
    let some = "q=seldom&start_timestamp=600000&end_timestamp=612000&include_total=false";
    let some = list(&app, some).await;
    assert_eq!(
        some["data"].as_array().unwrap().iter().map(|s| &s["session_id"]).collect::<Vec<_>>(),
        ["s-10200", "s-10100"]
    );
}
