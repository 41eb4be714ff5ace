//! Import order is request order. Reads every `crate::` path in `src/` and fails on an arrow that is not drawn here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Who may import whom, beside itself. `catalog` reads `chat` because a price is a function of reported usage.
fn allowed() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let mut map = BTreeMap::new();
    let mut may = |room: &'static str, of: &[&[&'static str]]| {
        let all: BTreeSet<&'static str> = of.iter().flat_map(|part| part.iter().copied()).collect();
        map.insert(room, all);
    };
    let ground: &[&str] = &["base", "chat", "catalog", "telemetry", "embed"];
    let second: &[&str] = &["admission", "features", "cache", "dialect"];
    may("base", &[]);
    may("chat", &[&["base"]]);
    may("catalog", &[&["base", "chat"]]);
    may("telemetry", &[&["base"]]);
    may("embed", &[&["base", "telemetry"]]);
    for room in second {
        may(room, &[ground]);
    }
    may("cache_store", &[ground, &["cache"]]);
    may("policy", &[ground, &["features"]]);
    may("dispatch", &[ground, &["policy", "dialect"]]);
    may("ledger", &[ground, second, &["policy", "dispatch"]]);
    let path: &[&str] = &["policy", "dispatch", "ledger"];
    may("learn", &[ground, second, path]);
    may("gateway", &[ground, second, path]);
    may("eval", &[ground, second, path, &["learn"]]);
    may("http", &[ground, second, path, &["gateway"]]);
    let parts: &[&str] = &["cache_store", "learn", "gateway", "eval", "http"];
    may("config", &[ground, second, path, parts]);
    may("simulate", &[&["base", "catalog", "features"]]);
    may("app", &[ground, second, path, parts, &["config"]]);
    may("cli", &[ground, second, path, parts, &["config", "simulate", "app"]]);
    map
}

fn rust_files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("src is readable") {
        let path = entry.expect("entry is readable").path();
        if path.is_dir() {
            rust_files(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

/// The rooms named after `crate::` in this text, with braces and line breaks taken into account.
fn imports(text: &str) -> BTreeSet<String> {
    let code: String =
        text.lines().filter(|line| !line.trim_start().starts_with("//")).flat_map(|line| [line, "\n"]).collect();
    let mut rooms = BTreeSet::new();
    let mut rest = code.as_str();
    while let Some(at) = rest.find("crate::") {
        let preceded = rest[..at].chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$');
        rest = &rest[at + "crate::".len()..];
        if preceded {
            continue;
        }
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut fresh = true;
            let mut name = String::new();
            for c in group.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => {
                        rooms.insert(std::mem::take(&mut name));
                        fresh = true;
                    }
                    c if depth == 0 && fresh && (c.is_alphanumeric() || c == '_') => name.push(c),
                    ':' if depth == 0 => fresh = false,
                    _ => {}
                }
            }
            rooms.insert(name);
        } else {
            rooms.insert(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        }
    }
    rooms.remove("");
    rooms
}

#[test]
fn nobody_imports_what_stands_behind_it_on_the_path() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let allowed = allowed();
    let mut files = Vec::new();
    rust_files(&root, &mut files);
    let mut wrong = Vec::new();
    for file in &files {
        let inside = file.strip_prefix(&root).expect("file is in src");
        let first = inside.iter().next().expect("a file has a name").to_string_lossy();
        let room = first.trim_end_matches(".rs");
        if matches!(room, "lib" | "main") {
            continue;
        }
        let Some(may) = allowed.get(room) else {
            wrong.push(format!("{}: the room `{room}` is not on the plan", inside.display()));
            continue;
        };
        for import in imports(&fs::read_to_string(file).expect("source is readable")) {
            if allowed.contains_key(import.as_str()) && import != room && !may.contains(import.as_str()) {
                wrong.push(format!("{}: `{room}` may not import `{import}`", inside.display()));
            }
        }
    }
    assert!(!files.is_empty());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_reader_of_imports_sees_every_form() {
    let text = "use crate::base::Usd;\nuse crate::{\n chat::{Usage, Answer},\n policy,\n};\n// crate::http\nfn f() { crate::embed::x(); $crate::app::y(); }";
    let found: Vec<String> = imports(text).into_iter().collect();
    assert_eq!(found, ["base", "chat", "embed", "policy"]);
}

#[test]
fn pure_rooms_touch_no_clock_no_file_no_network() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for room in ["base", "chat", "catalog.rs", "features", "cache", "policy", "dialect"] {
        let mut files = Vec::new();
        let path = root.join(room);
        if path.is_dir() {
            rust_files(&path, &mut files);
        } else {
            files.push(path);
        }
        for file in files {
            let text = fs::read_to_string(&file).expect("source is readable");
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            for banned in ["tokio::", "reqwest::", "std::fs", "std::net", "rusqlite"] {
                if code.contains(banned) {
                    wrong.push(format!("{}: {banned}", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
