//! The dates that a question names: "8 May 2023", "May 2023", "2023-05-08", "yesterday".

use chrono::{DateTime, Datelike, Days, NaiveDate, Utc};

/// A date as precise as the question says it: any of year, month and day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NamedDate {
    pub year: Option<i32>,
    pub month: Option<u32>,
    pub day: Option<u32>,
}

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

/// All dates in `question`; "yesterday" is relative to `now`.
pub fn named_in(question: &str, now: DateTime<Utc>) -> Vec<NamedDate> {
    let words: Vec<String> = question
        .split(|c: char| !(c.is_alphanumeric() || c == '-'))
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();
    let mut dates: Vec<NamedDate> = words.iter().filter_map(|word| iso(word).or_else(|| relative(word, now))).collect();
    let mut taken = vec![false; words.len()];
    for (at, word) in words.iter().enumerate() {
        let Some(month) = month(word) else { continue };
        let before = match at.checked_sub(1) {
            Some(before) if words[before] == "of" => before.checked_sub(1),
            before => before,
        };
        let day_before = before.and_then(|before| day(&words[before]));
        let day_after = words.get(at + 1).filter(|_| day_before.is_none()).and_then(|word| day(word));
        let year_at = at + 1 + usize::from(day_after.is_some());
        let day = day_before.or(day_after);
        let year = words.get(year_at).and_then(|word| year(word));
        // Without a day or a year, "may" is the verb.
        if word == "may" && day.is_none() && year.is_none() {
            continue;
        }
        taken[at..words.len().min(year_at + 1)].fill(true);
        dates.push(NamedDate { year, month: Some(month), day });
    }
    let years = words.iter().zip(taken).filter(|(_, taken)| !taken).filter_map(|(word, _)| year(word));
    dates.extend(years.map(|year| NamedDate { year: Some(year), ..NamedDate::default() }));
    dates
}

fn month(word: &str) -> Option<u32> {
    let at = MONTHS.iter().position(|month| *month == word || (word.len() == 3 && month.starts_with(word)))?;
    u32::try_from(at + 1).ok()
}

fn day(word: &str) -> Option<u32> {
    let digits = ["st", "nd", "rd", "th"].iter().find_map(|ending| word.strip_suffix(ending)).unwrap_or(word);
    digits.parse().ok().filter(|day| (1..=31).contains(day) && digits.len() <= 2)
}

fn year(word: &str) -> Option<i32> {
    word.parse().ok().filter(|year| (1900..=2199).contains(year))
}

fn iso(word: &str) -> Option<NamedDate> {
    NaiveDate::parse_from_str(word, "%Y-%m-%d").ok().map(of_day)
}

fn relative(word: &str, now: DateTime<Utc>) -> Option<NamedDate> {
    let today = now.date_naive();
    match word {
        "today" => Some(of_day(today)),
        "yesterday" => today.checked_sub_days(Days::new(1)).map(of_day),
        _ => None,
    }
}

fn of_day(date: NaiveDate) -> NamedDate {
    NamedDate { year: Some(date.year()), month: Some(date.month()), day: Some(date.day()) }
}

/// How well a time fits the best of these dates, 0 to 1. Days near the date score too, because events are often told
/// some days later.
pub fn fit(dates: &[NamedDate], time: DateTime<Utc>) -> f64 {
    dates.iter().map(|date| fit_one(*date, time)).fold(0.0, f64::max)
}

fn fit_one(date: NamedDate, time: DateTime<Utc>) -> f64 {
    let differs = |named: Option<i64>, is: i64| named.is_some_and(|named| named != is);
    if differs(date.year.map(i64::from), time.year().into()) || differs(date.month.map(i64::from), time.month().into())
    {
        return 0.0;
    }
    match (date.month, date.day) {
        (Some(_), Some(day)) => match day.abs_diff(time.day()) {
            0 | 1 => 1.0,
            2..=7 => 0.6,
            _ => 0.3,
        },
        (Some(_), None) => 1.0,
        // A year alone is weak evidence.
        (None, _) => 0.3,
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeZone;

    use super::*;

    fn named(question: &str) -> Vec<(Option<i32>, Option<u32>, Option<u32>)> {
        let now = Utc.with_ymd_and_hms(2026, 3, 1, 12, 0, 0).unwrap();
        named_in(question, now).into_iter().map(|date| (date.year, date.month, date.day)).collect()
    }

    #[test]
    fn dates_are_read_in_the_forms_that_people_write() {
        let day = [(Some(2023), Some(5), Some(8))];
        for question in ["on 8 May, 2023?", "May 8th 2023", "the 8th of May 2023", "2023-05-08"] {
            assert_eq!(named(question), day, "{question}");
        }
        assert_eq!(named("in July"), [(None, Some(7), None)]);
        assert_eq!(named("in Jan 2024"), [(Some(2024), Some(1), None)]);
        assert_eq!(named("during 2022"), [(Some(2022), None, None)]);
        assert_eq!(named("what did I say yesterday"), [(Some(2026), Some(2), Some(28))]);
    }

    #[test]
    fn what_is_no_date_is_none() {
        assert_eq!(named("What may I eat?"), []);
        assert_eq!(named("How many of the 400 books in 3 rooms?"), []);
        assert_eq!(named("of may"), []);
    }

    #[test]
    fn a_nearer_day_fits_better() {
        let dates = [NamedDate { year: Some(2023), month: Some(5), day: Some(8) }];
        let at = |day| Utc.with_ymd_and_hms(2023, 5, day, 9, 0, 0).unwrap();
        assert!((fit(&dates, at(9)) - 1.0).abs() < f64::EPSILON);
        assert!(fit(&dates, at(12)) > fit(&dates, at(28)));
        assert!(fit(&dates, Utc.with_ymd_and_hms(2023, 6, 8, 9, 0, 0).unwrap()).abs() < f64::EPSILON);
    }
}
