use chrono::TimeZone;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;

fn place(session: &str, seq: i64) -> Place {
    Place { session_id: session.into(), seq, index: 0 }
}

fn day(day: u32) -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2023, 5, day, 9, 0, 0).unwrap()
}

fn near(of: usize, distance: i32, place: Place, opening: &str) -> Nearby {
    Nearby { of, distance, place, role: Role::User, opening: opening.into(), asks: false, created_at: day(8) }
}

fn matching(item: Item, score: f64) -> Match {
    Match { item, score, created_at: day(8) }
}

fn parts_of(ranked: &[Ranked], place: &Place) -> ScoreParts {
    ranked.iter().find(|ranked| ranked.item == Item::Message(place.clone())).unwrap().parts
}

#[test]
fn a_turn_passes_some_of_its_score_to_its_neighbours_and_its_session() {
    let weights = SearchWeights::default();
    let evidence = Evidence {
        matches: vec![matching(Item::Message(place("s", 3)), 4.0)],
        places: vec![place("s", 3)],
        nearby: (-2_i32..=2).map(|d| near(0, d, place("s", 3 + i64::from(d)), "text")).collect(),
        ..Evidence::default()
    };
    let ranked = rank("text", day(9), &evidence, &weights);
    assert_eq!(ranked[0].item, Item::Message(place("s", 3)));
    assert!((parts_of(&ranked, &place("s", 3)).keyword - 1.0).abs() < 1e-9);
    assert!((parts_of(&ranked, &place("s", 4)).neighbour - weights.neighbour).abs() < 1e-9);
    assert!((parts_of(&ranked, &place("s", 1)).neighbour - weights.second_neighbour).abs() < 1e-9);
    assert!((parts_of(&ranked, &place("s", 1)).session - weights.session / 2.0).abs() < 1e-9);
}

#[test]
fn a_memory_speaks_for_the_turn_that_it_came_from() {
    let memory = MemoryId(Uuid::nil());
    let evidence = Evidence {
        matches: vec![matching(Item::Memory(memory), 3.0)],
        sources: vec![(memory, place("s", 1))],
        places: vec![place("s", 1)],
        nearby: vec![near(0, 0, place("s", 1), "text")],
        ..Evidence::default()
    };
    let ranked = rank("text", day(9), &evidence, &SearchWeights::default());
    assert_eq!(ranked.len(), 2);
    assert!(parts_of(&ranked, &place("s", 1)).memory > 0.0);
}

#[test]
fn the_one_speaker_who_is_named_is_preferred() {
    let evidence = Evidence {
        places: vec![place("s", 1), place("s", 2)],
        nearby: vec![near(0, 0, place("s", 1), "Ann: I paint"), near(1, 0, place("s", 2), "Bob: Really?")],
        ..Evidence::default()
    };
    let weights = SearchWeights::default();
    let ranked = rank("What does Ann paint?", day(9), &evidence, &weights);
    assert!((parts_of(&ranked, &place("s", 1)).speaker - weights.speaker).abs() < 1e-9);
    let both = rank("Did Ann and Bob meet?", day(9), &evidence, &weights);
    assert!(both.iter().all(|ranked| ranked.parts.speaker == 0.0));
    assert_eq!((speaker("Note: buy milk"), speaker("see http://x")), (Some("Note"), None));
}

#[test]
fn words_and_vectors_share_the_score_of_a_text() {
    let both = Item::Message(place("s", 1));
    let evidence = Evidence {
        matches: vec![matching(both.clone(), 7.0), matching(Item::Message(place("s", 2)), 3.5)],
        near: Some(vec![matching(Item::Message(place("t", 1)), 0.8), matching(both, 0.4)]),
        places: vec![place("s", 1), place("s", 2), place("t", 1)],
        nearby: vec![near(0, 0, place("s", 1), ""), near(1, 0, place("s", 2), ""), near(2, 0, place("t", 1), "")],
        ..Evidence::default()
    };
    let weights = SearchWeights { vector: 0.4, ..SearchWeights::default() };
    let ranked = rank("text", day(9), &evidence, &weights);
    let own = |place: &Place| (parts_of(&ranked, place).keyword, parts_of(&ranked, place).vector);
    let near_to = |own: (f64, f64), keyword: f64, vector: f64| {
        assert!((own.0 - keyword).abs() < 1e-9 && (own.1 - vector).abs() < 1e-9, "{own:?}");
    };
    near_to(own(&place("s", 1)), 0.6, 0.2);
    near_to(own(&place("s", 2)), 0.3, 0.0);
    near_to(own(&place("t", 1)), 0.0, 0.4);
}

#[test]
fn what_is_no_nearer_than_a_hundred_others_is_not_near() {
    let near = (0..150).map(|at| matching(Item::Message(place("s", at.into())), 0.9 - 0.001 * f64::from(at)));
    let near: Vec<Match> = near.collect();
    let weights = SearchWeights { vector: 1.0, ..SearchWeights::default() };
    let shares = |near: &[Match]| -> Vec<f64> {
        let evidence = Evidence { near: Some(near.to_vec()), ..Evidence::default() };
        let texts = Texts::of(&evidence, &weights);
        near.iter().map(|found| texts.parts(&found.item).vector).collect()
    };
    let many = shares(&near);
    assert!((many[0] - 1.0).abs() < 1e-9 && many[50] < 0.5, "{many:?}");
    assert!(many[MOST_NEAR - 1..].iter().all(|share| share.abs() < 1e-9), "{many:?}");
    // With fewer rows than `MOST_NEAR` there is no floor.
    assert!(shares(&near[..50]).iter().all(|share| *share > 0.9));
    let same: Vec<Match> = near.iter().map(|found| Match { score: 0.9, ..found.clone() }).collect();
    assert!(shares(&same).iter().all(|share| (share - 1.0).abs() < 1e-9));
}

#[test]
fn what_tells_something_is_preferred_to_what_asks() {
    let asking = Nearby { asks: true, ..near(0, 0, place("s", 1), "Where is Rex?") };
    let evidence = Evidence {
        places: vec![place("s", 1), place("s", 2)],
        nearby: vec![asking, near(1, 0, place("s", 2), "Rex is in the garden.")],
        ..Evidence::default()
    };
    let ranked = rank("Where is Rex?", day(9), &evidence, &SearchWeights::default());
    assert_eq!(ranked[0].item, Item::Message(place("s", 2)));
}

proptest! {
    #[test]
    fn no_score_is_out_of_bounds_and_the_order_is_that_of_the_scores(
        scores in proptest::collection::vec(0.01_f64..50.0, 1..40)
    ) {
        let mut scores = scores;
        scores.sort_by(|one, other| other.total_cmp(one));
        let places: Vec<Place> = (1..).map(|seq| place("s", seq)).take(scores.len()).collect();
        let matches = places.iter().zip(&scores).map(|(p, s)| matching(Item::Message(p.clone()), *s)).collect();
        let nearby = (0..places.len()).flat_map(|of| {
            let around = |d: i32| near(of, d, place("s", i64::try_from(of).unwrap() + 1 + i64::from(d)), "text");
            (-2..=2).map(around).collect::<Vec<_>>()
        }).collect();
        let weights = SearchWeights::default();
        let most = 1.0 + weights.memory + (2.0 * weights.neighbour + weights.second_neighbour) * (1.0 + weights.memory)
            + weights.session * (1.0 + weights.memory) + weights.date + weights.speaker + weights.role + weights.statement;
        let ranked = rank("text", day(9), &Evidence { matches, places, nearby, ..Evidence::default() }, &weights);
        for pair in ranked.windows(2) {
            prop_assert!(pair[0].parts.sum() >= pair[1].parts.sum());
        }
        prop_assert!(ranked.iter().all(|ranked| (0.0..=most).contains(&ranked.parts.sum())));
    }
}
