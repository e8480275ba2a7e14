//! The steps of one search: rows that match, the turns around them, their order, their texts.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use chrono::Utc;

use super::{
    model::{Found, Hit, Item, Place, Search},
    rank::{self, Evidence, Ranked},
    statistics::{LARGE, Size},
    store::{self, Match},
};
use crate::{
    app::App,
    llm,
    memories::{self, MemoryId},
};

/// How many of the best rows are weighed when the answer is bounded by tokens.
const MOST_HITS: usize = 100;

/// What was found, best first.
pub async fn search(app: &App, search: &Search) -> Result<Vec<Hit>, sqlx::Error> {
    let evidence = gather(app, search).await?;
    let mut ranked = rank::rank(&search.query, Utc::now(), &evidence, &app.settings.search.weights);
    if !search.messages {
        ranked.retain(|ranked| matches!(ranked.item, Item::Memory(_)));
    }
    ranked.retain(|ranked| search.from.is_none_or(|from| ranked.created_at >= from));
    ranked.retain(|ranked| search.to.is_none_or(|to| ranked.created_at < to));
    ranked.truncate(search.limit.min(MOST_HITS));
    let hits = read(app, search, ranked).await?;
    Ok(match search.max_tokens {
        Some(budget) => within(hits, budget),
        None => hits,
    })
}

async fn gather(app: &App, search: &Search) -> Result<Evidence, sqlx::Error> {
    let matches = find_matches(app, search).await?;
    if !search.messages {
        return Ok(Evidence { matches, ..Evidence::default() });
    }
    let memory_ids: Vec<MemoryId> = matches
        .iter()
        .filter_map(|found| match &found.item {
            Item::Memory(memory_id) => Some(*memory_id),
            Item::Message(_) => None,
        })
        .collect();
    let mut sources =
        if memory_ids.is_empty() { Vec::new() } else { store::sources(&app.db, &search.scope, &memory_ids).await? };
    if let Some(session_id) = &search.session_id {
        sources.retain(|(_, place)| place.session_id == session_id.as_str());
    }
    let matching = matches.iter().filter_map(|found| match &found.item {
        Item::Message(place) => Some(place.clone()),
        Item::Memory(_) => None,
    });
    let mut seen = HashSet::new();
    let places: Vec<Place> = matching
        .chain(sources.iter().map(|(_, place)| place.clone()))
        .filter(|place| seen.insert(place.clone()))
        .collect();
    let nearby = store::nearby(&app.db, &search.scope, &places).await?;
    Ok(Evidence { matches, sources, places, nearby })
}

async fn find_matches(app: &App, search: &Search) -> Result<Vec<Match>, sqlx::Error> {
    let (settings, size) = (&app.settings.search, size(app, search).await?);
    if size.texts == 0 {
        return Ok(Vec::new());
    }
    let matches = store::matches(&app.db, search, settings, &size).await?;
    let are_enough = matches.len() >= search.limit.min(MOST_HITS);
    if are_enough || size.common.is_empty() {
        return Ok(matches);
    }
    let of_all_words = Size { common: Vec::new(), common_texts: Vec::new(), ..*size };
    store::matches(&app.db, search, settings, &of_all_words).await
}

/// How much there is to search through; remembered for a while where there is much.
async fn size(app: &App, search: &Search) -> Result<Arc<Size>, sqlx::Error> {
    let collection = (
        search.scope.user().map(Into::into),
        search.session_id.as_ref().map(|id| id.as_str().to_owned()),
        search.messages,
        search.memories,
    );
    let is_whole = search.from.is_none() && search.to.is_none() && search.filter.is_empty();
    if is_whole && let Some(size) = app.search_statistics.get(&collection) {
        return Ok(size);
    }
    let size = store::size(&app.db, search).await?;
    if !is_whole || size.texts < LARGE {
        return Ok(Arc::new(size));
    }
    let size = Arc::new(store::with_common_words(&app.db, search, size).await?);
    app.search_statistics.remember(collection, &size);
    Ok(size)
}

/// Adds the texts. What was deleted meanwhile is left out.
async fn read(app: &App, search: &Search, ranked: Vec<Ranked>) -> Result<Vec<Hit>, sqlx::Error> {
    let (mut places, mut memory_ids) = (Vec::new(), Vec::new());
    for ranked in &ranked {
        match &ranked.item {
            Item::Message(place) => places.push(place),
            Item::Memory(memory_id) => memory_ids.push(*memory_id),
        }
    }
    let mut found: HashMap<Item, Found> = HashMap::new();
    if !places.is_empty() {
        for (place, message) in store::messages(&app.db, &search.scope, &places).await? {
            found.insert(Item::Message(place), Found::Message(message));
        }
    }
    if !memory_ids.is_empty() {
        for memory in memories::store::find_all(&app.db, &search.scope, &memory_ids).await? {
            found.insert(Item::Memory(memory.memory_id), Found::Memory(memory));
        }
    }
    let hit = |ranked: Ranked| {
        let found = found.remove(&ranked.item)?;
        Some(Hit { score: ranked.parts.sum(), parts: ranked.parts, found })
    };
    Ok(ranked.into_iter().filter_map(hit).collect())
}

/// The best hits that fit; one that does not is passed over for smaller ones.
pub fn within(hits: Vec<Hit>, budget: usize) -> Vec<Hit> {
    let mut left = budget;
    let mut fits = |hit: &Hit| {
        let tokens = llm::count_tokens(hit.found.text());
        let fits = tokens <= left;
        if fits {
            left -= tokens;
        }
        fits
    };
    hits.into_iter().filter(|hit| fits(hit)).collect()
}
