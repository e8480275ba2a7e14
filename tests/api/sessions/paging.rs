//! Whatever was done before, a list shows each session once.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicUsize, Ordering},
};

use proptest::{
    collection::vec,
    prelude::{Just, Strategy, any},
    prop_assert, prop_assert_eq, prop_oneof,
    sample::Index,
    test_runner::{Config, TestCaseError, TestRunner},
};
use serde_json::json;

use super::{column, create, ids, list, rename};
use crate::support::TestApp;

#[derive(Clone, Debug)]
enum Step {
    Create(&'static str),
    Rename(Index, &'static str),
    Delete(Index),
}

fn step() -> impl Strategy<Value = Step> {
    let name = || prop_oneof![Just("same"), Just("Same"), Just("other"), Just("zäh"), Just("100%")];
    prop_oneof![
        4 => name().prop_map(Step::Create),
        1 => Just(Step::Create("")),
        2 => (any::<Index>(), name()).prop_map(|(index, name)| Step::Rename(index, name)),
        1 => any::<Index>().prop_map(Step::Delete),
    ]
}

/// The names of the sessions that should be there, by their ids.
type Expected = BTreeMap<String, String>;

async fn take(app: &TestApp, user: &str, expected: &mut Expected, step: Step) {
    let any_of = |expected: &Expected, index: Index| {
        let ids: Vec<_> = expected.keys().cloned().collect();
        (!ids.is_empty()).then(|| ids[index.index(ids.len())].clone())
    };
    match step {
        Step::Create(name) => {
            let created = create(app, json!({"session_name": name, "user_id": user})).await;
            expected.insert(created["session_id"].as_str().expect("an id").to_owned(), name.to_owned());
        }
        Step::Rename(index, name) => {
            let Some(id) = any_of(expected, index) else { return };
            rename(app, &id, name).await.expect(200);
            expected.insert(id, name.to_owned());
        }
        Step::Delete(index) => {
            let Some(id) = any_of(expected, index) else { return };
            app.delete(&format!("/sessions/{id}")).await.expect(204);
            expected.remove(&id);
        }
    }
}

/// Everything that the pages of a list show, in their order.
async fn all_pages(app: &TestApp, query: &str) -> Vec<(String, String)> {
    let mut shown = Vec::new();
    for number in 1.. {
        let page = list(app, &format!("{query}&page={number}")).await;
        let names = column(&page["data"], "session_name");
        shown.extend(ids(&page).into_iter().map(ToOwned::to_owned).zip(names.into_iter().map(ToOwned::to_owned)));
        if page["meta"]["total_pages"].as_i64().expect("a count") <= number {
            break;
        }
    }
    shown
}

/// What the pages that cursors lead to show, while `steps` are taken between them.
async fn all_cursors(
    app: &TestApp,
    (user, query): (&str, &str),
    expected: &mut Expected,
    mut steps: impl Iterator<Item = Step>,
) -> Vec<String> {
    let (mut shown, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = list(app, &format!("{query}&cursor={cursor}")).await;
        shown.extend(ids(&page).into_iter().map(ToOwned::to_owned));
        match page["meta"]["next_cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => return shown,
        }
        if let Some(step) = steps.next() {
            take(app, user, expected, step).await;
        }
    }
}

/// Over pages by cursor each session that was there at the first page and is there at the last comes once, whatever
/// comes, goes and changes its name between.
async fn check_cursors(
    app: &TestApp,
    before: Vec<Step>,
    between: Vec<Step>,
    limit: usize,
) -> Result<(), TestCaseError> {
    static USERS: AtomicUsize = AtomicUsize::new(0);
    let user = format!("reader-{}", USERS.fetch_add(1, Ordering::Relaxed));
    let mut expected = Expected::new();
    for step in before {
        take(app, &user, &mut expected, step).await;
    }
    for order in ["asc", "desc"] {
        let query = format!("user_id={user}&limit={limit}&sort_order={order}");
        let first: Vec<String> = expected.keys().cloned().collect();
        let shown = all_cursors(app, (&user, &query), &mut expected, between.iter().cloned()).await;
        let distinct: BTreeSet<&String> = shown.iter().collect();
        prop_assert_eq!(distinct.len(), shown.len(), "{} shows one twice: {:?}", query, shown);
        for id in first.iter().filter(|id| expected.contains_key(*id)) {
            prop_assert!(distinct.contains(id), "{} passes {} over: {:?}", query, id, shown);
        }
    }
    // When nothing changes any more, names are a stable order too.
    for sort_by in ["created_at", "updated_at", "session_name"] {
        let query = format!("user_id={user}&limit={limit}&sort_by={sort_by}");
        let mut shown = all_cursors(app, (&user, &query), &mut expected, std::iter::empty()).await;
        shown.sort();
        prop_assert_eq!(shown, expected.keys().cloned().collect::<Vec<_>>(), "{}", query);
    }
    Ok(())
}

async fn check(app: &TestApp, steps: Vec<Step>, limit: usize) -> Result<(), TestCaseError> {
    static USERS: AtomicUsize = AtomicUsize::new(0);
    let user = format!("user-{}", USERS.fetch_add(1, Ordering::Relaxed));
    let mut expected = Expected::new();
    for step in steps {
        take(app, &user, &mut expected, step).await;
    }
    let expected: Vec<_> = expected.into_iter().collect();
    for sort_by in ["created_at", "updated_at", "session_name"] {
        for order in ["asc", "desc"] {
            let query = format!("user_id={user}&limit={limit}&sort_by={sort_by}&sort_order={order}");
            let mut shown = all_pages(app, &query).await;
            shown.sort();
            prop_assert_eq!(&shown, &expected, "{}", query);
        }
    }
    Ok(())
}

#[test]
fn the_pages_show_each_session_once_after_any_creates_renames_and_deletes() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let app = runtime.block_on(TestApp::start());
    let config = Config { cases: 24, max_shrink_iters: 100, failure_persistence: None, ..Config::default() };
    let sequences = (vec(step(), 1..16), 1_usize..6);
    TestRunner::new(config)
        .run(&sequences, |(steps, limit)| runtime.block_on(check(&app, steps, limit)))
        .unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn cursors_lead_to_each_surviving_session_once_whatever_happens_between_the_pages() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let app = runtime.block_on(TestApp::start());
    let config = Config { cases: 24, max_shrink_iters: 100, failure_persistence: None, ..Config::default() };
    let sequences = (vec(step(), 4..16), vec(step(), 1..10), 1_usize..4);
    TestRunner::new(config)
        .run(&sequences, |(before, between, limit)| runtime.block_on(check_cursors(&app, before, between, limit)))
        .unwrap_or_else(|error| panic!("{error}"));
}

#[tokio::test]
async fn a_cursor_belongs_to_its_user_filters_and_order() {
    let app = TestApp::start().await;
    for id in ["a", "b", "c"] {
        create(&app, json!({"session_id": id, "user_id": "alice"})).await;
    }
    let page = list(&app, "user_id=alice&limit=1").await;
    assert_eq!((&page["meta"]["total_count"], &page["meta"]["has_more"]), (&json!(3), &json!(true)));
    let cursor = page["meta"]["next_cursor"].as_str().unwrap();
    let next = list(&app, &format!("user_id=alice&limit=2&cursor={cursor}")).await;
    assert_eq!(ids(&next), ["b", "a"], "the size of a page may change");
    assert!(next["meta"].get("total_count").is_none() && next["meta"].get("next_cursor").is_none(), "{next}");
    for query in ["", "user_id=bob", "user_id=alice&type=agent", "user_id=alice&sort_order=asc", "user_id=alice&page=2"]
    {
        app.get(&format!("/sessions?{query}&cursor={cursor}")).await.expect_problem(422);
    }
    let uncounted = list(&app, "user_id=alice&limit=1&include_total=false").await;
    assert!(uncounted["meta"].get("total_count").is_none() && uncounted["meta"]["has_more"] == true, "{uncounted}");
}
