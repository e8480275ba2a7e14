//! The rooms point one way: `src/lib.rs` lists them from below upwards, and none imports one that comes after it.

use std::{fs, path::Path};

use regex::Regex;

#[test]
fn no_room_imports_one_that_comes_after_it() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let rooms = rooms(&fs::read_to_string(src.join("lib.rs")).unwrap());
    assert!(rooms.len() > 20, "lib.rs lists the rooms");
    let mut wrong = Vec::new();
    for (place, room) in rooms.iter().enumerate() {
        // The face for tests shows all rooms, and the last of them use whatever they like.
        for file in files_of(&src, room) {
            let source = fs::read_to_string(&file).unwrap();
            for imported in imports(&source, depth(file.strip_prefix(&src).unwrap())) {
                let is_below = rooms.iter().position(|other| *other == imported).is_some_and(|other| other <= place);
                if !is_below {
                    wrong.push(format!("{} imports {imported}", file.strip_prefix(&src).unwrap().display()));
                }
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new(), "move what is shared down, or what uses it up (src/lib.rs has the order)");
}

/// Where statements are but in a `store`: the connection itself, its clock, and the tables of the queue's library.
const WITH_STATEMENTS: [&str; 3] = ["database/", "jobs/queue", "clock.rs"];

#[test]
fn statements_stand_in_the_stores() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let statement = Regex::new(r"\bsqlx::(query|raw_sql|QueryBuilder)|\bQueryBuilder::new").unwrap();
    let mut wrong = Vec::new();
    for file in rooms(&fs::read_to_string(src.join("lib.rs")).unwrap()).iter().flat_map(|room| files_of(&src, room)) {
        let path = file.strip_prefix(&src).unwrap().display().to_string();
        let may = path.contains("/store") || WITH_STATEMENTS.iter().any(|place| path.starts_with(place));
        if !may && statement.is_match(&fs::read_to_string(&file).unwrap()) {
            wrong.push(path);
        }
    }
    assert_eq!(wrong, Vec::<String>::new(), "move the statement into the `store` of its room");
}

#[test]
fn an_import_is_seen_in_every_form() {
    let source = "
        use crate::{alpha as first, beta::{self, Gamma},\n delta::epsilon::Zeta};
        use crate::eta;
        pub use crate::theta::Iota;
        // use crate::comment;
        /// [`crate::documentation`]
        fn kappa() -> crate::lambda::Mu { $crate::nu::xi() }
        use super::own_room;
        use super::super::omicron::Pi;
        mod tests {
            use super::super::own_room;
            use super::super::super::{rho, sigma::Tau};
        }
    ";
    let seen = ["alpha", "beta", "delta", "eta", "theta", "lambda", "nu", "omicron", "rho", "sigma"];
    assert_eq!(imports(source, 2), seen);
}

#[test]
fn a_file_is_as_deep_as_its_module() {
    for (path, deep) in [("clock.rs", 1), ("runs/mod.rs", 1), ("runs/store.rs", 2), ("runs/store/rows.rs", 3)] {
        assert_eq!(depth(Path::new(path)), deep, "{path}");
    }
}

/// The modules of `lib.rs`, in their order.
fn rooms(lib: &str) -> Vec<String> {
    let module = Regex::new(r"(?m)^(?:pub )?mod (\w+);$").unwrap();
    module.captures_iter(lib).map(|found| found[1].to_owned()).collect()
}

fn files_of(src: &Path, room: &str) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> = [src.join(format!("{room}.rs"))].into_iter().filter(|file| file.exists()).collect();
    let mut folders = vec![src.join(room)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files
}

/// How many modules a file lies below the root of the crate; a room is 1.
fn depth(path: &Path) -> usize {
    path.components().count() - usize::from(path.ends_with("mod.rs"))
}

/// The rooms that a source names: the first name of every path from the root of the crate.
fn imports(source: &str, depth: usize) -> Vec<String> {
    let code: String =
        source.lines().filter(|line| !line.trim_start().starts_with("//")).flat_map(|line| [line, "\n"]).collect();
    let tests = code.find("mod tests {").unwrap_or(code.len());
    let path = Regex::new(r"\b(crate::|(?:super::)+)(?:(\w+)|\{)").unwrap();
    let mut found = Vec::new();
    for start in path.captures_iter(&code) {
        let (at, ups) = (start.get(0).unwrap(), start[1].matches("super").count());
        let depth = depth + usize::from(at.start() > tests);
        if ups > 0 && ups < depth {
            continue;
        }
        match start.get(2) {
            Some(name) => found.push(name.as_str().to_owned()),
            None => found.extend(first_names(&code[at.end()..])),
        }
    }
    found
}

/// The first names of a group, such as `a` and `b` of `a::{c, d}, b::e}`.
fn first_names(group: &str) -> Vec<String> {
    let (mut depth, mut names, mut name) = (0, Vec::new(), String::new());
    let mut is_first = true;
    for character in group.chars() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.push(std::mem::take(&mut name));
                is_first = true;
            }
            character if depth == 0 && is_first && (character.is_alphanumeric() || character == '_') => {
                name.push(character);
            }
            _ if depth == 0 && !name.is_empty() => is_first = false,
            _ => {}
        }
    }
    names.push(name);
    names.retain(|name| !name.is_empty());
    names
}
