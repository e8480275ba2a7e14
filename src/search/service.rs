//! The steps of one search: matching rows, the turns around them, their order, their texts.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{
    Statistics,
    bm25::{self, Question},
    model::{FoundItem, Hit, Item, Place, Search, SearchOutcome, VectorUse},
    rank::{self, Evidence, Ranked},
    statistics::{Collection, LARGE, Size},
    store::{self, FoundMemory, Match, Wanted, memories},
    vectors,
};
use crate::{
    app::App,
    clock, llm,
    model::{MemoryId, ScoreParts, memory::Brief},
};

/// Maximum number of hits of a search, also if only `max_tokens` bounds the answer.
const MOST_HITS: usize = 100;
/// How many of the best rows by BM25 are ranked further.
const CANDIDATES: usize = 200;

/// Searches messages and memories and returns the texts, best first.
pub async fn search(app: &App, search: &Search) -> Result<SearchOutcome, sqlx::Error> {
    let Gathered { evidence, vectors, .. } = gather(app, search, false).await?;
    let hits = read(app, search, order(app, search, &evidence)).await?;
    let hits = match search.max_tokens {
        Some(budget) => within(hits, budget),
        None => hits,
    };
    Ok(SearchOutcome { hits, vectors })
}

/// Searches memories only and returns what a prompt needs of them, with the parts of their scores, best first.
pub async fn search_briefs(app: &App, search: &Search) -> Result<Vec<(Brief, ScoreParts)>, sqlx::Error> {
    let Gathered { evidence, found, .. } = gather(app, search, true).await?;
    let ranked = order(app, search, &evidence).into_iter().filter_map(|ranked| match ranked.item {
        Item::Memory(memory_id) => Some((memory_id, ranked.parts)),
        Item::Message(_) => None,
    });
    let ranked: Vec<(MemoryId, ScoreParts)> = ranked.collect();
    let found = found.into_iter().filter_map(FoundMemory::into_brief);
    let mut briefs: HashMap<MemoryId, Brief> = found.map(|brief| (brief.memory_id, brief)).collect();
    let ids = ranked.iter().map(|(memory_id, _)| *memory_id);
    let unread: Vec<MemoryId> = ids.filter(|memory_id| !briefs.contains_key(memory_id)).collect();
    if !unread.is_empty() {
        let read = memories::briefs(&app.db, &search.scope, &unread).await?;
        briefs.extend(read.into_iter().map(|brief| (brief.memory_id, brief)));
    }
    Ok(ranked.into_iter().filter_map(|(memory_id, parts)| Some((briefs.remove(&memory_id)?, parts))).collect())
}

/// Ranks the evidence and applies the limits of the search, best first.
fn order(app: &App, search: &Search, evidence: &Evidence) -> Vec<Ranked> {
    let mut ranked = rank::rank(&search.query, clock::now(), evidence, &app.settings.search.weights);
    if !search.messages {
        ranked.retain(|ranked| matches!(ranked.item, Item::Memory(_)));
    }
    ranked.retain(|ranked| search.from.is_none_or(|from| ranked.created_at >= from));
    ranked.retain(|ranked| search.to.is_none_or(|to| ranked.created_at < to));
    ranked.truncate(search.limit.min(MOST_HITS));
    ranked
}

/// Evidence to be ranked.
#[derive(Default)]
struct Gathered {
    evidence: Evidence,
    vectors: VectorUse,
    /// Memories that were read with their texts.
    found: Vec<FoundMemory>,
}

async fn gather(app: &App, search: &Search, with_texts: bool) -> Result<Gathered, sqlx::Error> {
    let config = &app.settings.search.text_config;
    let remembered = remembered_size(app, search);
    let words = store::words(&app.db, config, &search.query);
    let (size, words, found) = if !search.messages && remembered.is_none() {
        // Memories are few, so a search without messages needs neither the words nor the common words beforehand.
        let found = store::find_memories(&app.db, search, Wanted::AllBy { config, with_texts });
        let (words, found) = tokio::try_join!(words, found)?;
        let size = match FoundMemory::size(&found) {
            Some(size) if size.texts < LARGE => Arc::new(size),
            // No match, and no vectors to search.
            None if app.embedder.is_none() => return Ok(Gathered::default()),
            _ => count(app, search).await?,
        };
        (size, words, Some(found))
    } else {
        let size = async {
            match remembered {
                Some(size) => Ok(size),
                None => count(app, search).await,
            }
        };
        let (size, words) = tokio::try_join!(size, words)?;
        (size, words, None)
    };
    if size.texts == 0 {
        let vectors = if app.embedder.is_some() { VectorUse::Used } else { VectorUse::Off };
        return Ok(Gathered { vectors, ..Gathered::default() });
    }
    let (matches, (near, vectors)) =
        tokio::try_join!(find_matches(app, search, &words, &size, found.as_deref()), find_near(app, search))?;
    let mut evidence = Evidence { matches, near, ..Evidence::default() };
    if search.messages {
        let (sources, places) = find_places(app, search, &evidence).await?;
        evidence.nearby = store::nearby(&app.db, &search.scope, &places).await?;
        (evidence.sources, evidence.places) = (sources, places);
    }
    Ok(Gathered { evidence, vectors, found: found.unwrap_or_default() })
}

/// The turns that the matching memories come from; and these with the matching turns, without duplicates.
async fn find_places(
    app: &App,
    search: &Search,
    evidence: &Evidence,
) -> Result<(Vec<(MemoryId, Place)>, Vec<Place>), sqlx::Error> {
    let (mut memory_ids, mut turns) = (Vec::new(), Vec::new());
    for found in evidence.matches.iter().chain(evidence.near.iter().flatten()) {
        match &found.item {
            Item::Memory(memory_id) => memory_ids.push(*memory_id),
            Item::Message(place) => turns.push(place.clone()),
        }
    }
    let mut sources =
        if memory_ids.is_empty() { Vec::new() } else { store::sources(&app.db, &search.scope, &memory_ids).await? };
    if let Some(session_id) = &search.session_id {
        sources.retain(|(_, place)| place.session_id == session_id.as_str());
    }
    let mut seen = HashSet::new();
    let places = turns.into_iter().chain(sources.iter().map(|(_, place)| place.clone()));
    let places = places.filter(|place| seen.insert(place.clone())).collect();
    Ok((sources, places))
}

/// `found`: memories already found by all words, if any.
async fn find_matches(
    app: &App,
    search: &Search,
    words: &[String],
    size: &Size,
    found: Option<&[FoundMemory]>,
) -> Result<Vec<Match>, sqlx::Error> {
    let settings = &app.settings.search;
    let question = Question::new(words);
    let of_all_words = Size { common: Vec::new(), common_texts: Vec::new(), ..*size };
    if let Some(found) = found {
        let found = found.iter().filter_map(|memory| memory.row(&question)).collect();
        return Ok(bm25::best(found, words, &of_all_words, settings, CANDIDATES));
    }
    let rare: Vec<String> = words.iter().filter(|word| !size.common.contains(word)).cloned().collect();
    let found = store::find(&app.db, search, &rare, &question).await?;
    let are_enough = found.len() >= search.limit.min(MOST_HITS);
    if are_enough || rare.len() == words.len() {
        return Ok(bm25::best(found, words, size, settings, CANDIDATES));
    }
    let found = store::find(&app.db, search, words, &question).await?;
    Ok(bm25::best(found, words, &of_all_words, settings, CANDIDATES))
}

/// The rows of the scope with the nearest vectors, nearest first; `None` without vectors.
async fn find_near(app: &App, search: &Search) -> Result<(Option<Vec<Match>>, VectorUse), sqlx::Error> {
    let Some(embedder) = &app.embedder else { return Ok((None, VectorUse::Off)) };
    let likely = embedder.likely_name().filter(|_| !embedder.is_paused());
    let reading = async {
        match &likely {
            Some(model) => vectors::read(app, search, model).await.map(Some),
            None => Ok(None),
        }
    };
    // Concurrently: both take about the same time.
    let (question, read) = tokio::join!(embedder.embed_question(&search.query), reading);
    let Some(question) = question else { return Ok((None, VectorUse::Unavailable)) };
    let model = embedder.name_for(question.len());
    let rows = match read? {
        Some(rows) if likely.as_ref() == Some(&model) => rows,
        _ => vectors::read(app, search, &model).await?,
    };
    Ok((Some(vectors::nearest(&rows, &question, (search.from, search.to), rank::MOST_NEAR)), VectorUse::Used))
}

/// The cached size of the collection, if it is large and was counted recently.
fn remembered_size(app: &App, search: &Search) -> Option<Arc<Size>> {
    app.room::<Statistics>().get(&collection(search)?)
}

/// The cache key of the collection. `None` if dates or filters restrict the search: partial sizes are not cached.
fn collection(search: &Search) -> Option<Collection> {
    let is_whole = search.from.is_none() && search.to.is_none() && search.filter.is_empty();
    let session_id = || search.session_id.as_ref().map(|id| id.as_str().to_owned());
    let Search { scope, messages, memories, .. } = search;
    is_whole.then(|| (scope.tenant().to_owned(), scope.user().map(Into::into), session_id(), *messages, *memories))
}

/// Counts the collection; the size of a large one is cached.
async fn count(app: &App, search: &Search) -> Result<Arc<Size>, sqlx::Error> {
    let size = store::size(&app.db, search).await?;
    let Some(collection) = collection(search).filter(|_| size.texts >= LARGE) else { return Ok(Arc::new(size)) };
    let size = Arc::new(store::with_common_words(&app.db, search, size).await?);
    app.room::<Statistics>().remember(collection, &size);
    Ok(size)
}

/// Reads the texts of the hits. Rows that were deleted meanwhile are dropped.
async fn read(app: &App, search: &Search, ranked: Vec<Ranked>) -> Result<Vec<Hit>, sqlx::Error> {
    let (mut places, mut memory_ids) = (Vec::new(), Vec::new());
    for ranked in &ranked {
        match &ranked.item {
            Item::Message(place) => places.push(place),
            Item::Memory(memory_id) => memory_ids.push(*memory_id),
        }
    }
    let mut found: HashMap<Item, FoundItem> = HashMap::new();
    if !places.is_empty() {
        for (place, message) in store::messages(&app.db, &search.scope, &places).await? {
            found.insert(Item::Message(place), FoundItem::Message(message));
        }
    }
    if !memory_ids.is_empty() {
        for memory in memories::find_all(&app.db, &search.scope, &memory_ids).await? {
            found.insert(Item::Memory(memory.memory_id), FoundItem::Memory(memory));
        }
    }
    let hit = |ranked: Ranked| {
        let found = found.remove(&ranked.item)?;
        Some(Hit { score: ranked.parts.sum(), parts: ranked.parts, found })
    };
    Ok(ranked.into_iter().filter_map(hit).collect())
}

/// The best hits that fit into the budget; one that does not fit is skipped in favor of smaller ones.
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
