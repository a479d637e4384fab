//! The three small services of the examples: how little stands beside their pipelines.

use std::path::Path;

/// The part of `main` that a line is in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// The frame: the marks hold no statement of it.
    Frame,
    /// A pipeline of the library.
    Appmon,
    /// What everybody writes around pipelines.
    Glue,
}

/// Counts the lines of `main` between the marks `// glue: begin` and `// glue: end`; comments and blank lines do not count, all else
/// does, a lone bracket too. Outside of the marks of glue and of pipelines there are only the signature, `Ok(())`, the last bracket,
/// and the reading of an argument; outside of `main` there are only imports. So the marks cannot leave anything out.
fn glue(file: &str) -> Result<usize, String> {
    let (head, body) = file.split_once("async fn main() -> Result<()> {\n").ok_or("no main")?;
    let mut imports = head.lines().filter(|line| !line.is_empty() && !line.starts_with("//"));
    if let Some(line) = imports.find(|line| !line.starts_with("use ") && !line.starts_with("#[tokio::main")) {
        return Err(format!("before main: {line}"));
    }
    let (mut part, mut count, mut pipelines) = (Part::Frame, 0, 0);
    for line in body.lines().map(str::trim) {
        part = match (line, part) {
            ("// appmon: begin", Part::Frame) => Part::Appmon,
            ("// glue: begin", Part::Frame) => Part::Glue,
            ("// appmon: end", Part::Appmon) | ("// glue: end", Part::Glue) => Part::Frame,
            ("", _) => part,
            (line, _) if line.starts_with("//") && !line.ends_with(": begin") && !line.ends_with(": end") => part,
            (line, Part::Frame) => {
                if !matches!(line, "Ok(())" | "}") && !line.starts_with("let url = std::env::args()") {
                    return Err(format!("in no mark: {line}"));
                }
                part
            }
            (line, _) if line.starts_with("//") => return Err(format!("marks are mixed up: {line}")),
            (_, Part::Appmon) => {
                pipelines += 1;
                part
            }
            (_, Part::Glue) => {
                count += 1;
                part
            }
        };
    }
    if part == Part::Frame && pipelines > 0 {
        Ok(count)
    } else {
        Err("a mark is not closed, or no pipeline".to_owned())
    }
}

#[test]
fn three_services_have_twenty_lines_of_glue() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples"));
    let counts = ["api_server.rs", "unit_totals.rs", "batch_alerts.rs"].map(|name| {
        let text = std::fs::read_to_string(folder.join(name)).unwrap();
        (name, glue(&text).unwrap_or_else(|why| panic!("{name}: {why}")))
    });
    let all: usize = counts.iter().map(|(_, count)| count).sum();
    assert!(all <= 20, "{all} lines of glue: {counts:?}");
    assert!(counts.iter().all(|(_, count)| *count > 0), "the marks have other names: {counts:?}");
}

#[test]
fn nothing_is_left_out_of_the_count() {
    let file = |before: &str, body: &str| {
        let marked = "    // appmon: begin\n    a();\n    // appmon: end\n";
        glue(&format!("{before}#[tokio::main]\nasync fn main() -> Result<()> {{\n{marked}{body}    Ok(())\n}}\n"))
    };
    assert_eq!(file("use a;\n", "    // glue: begin\n    b(\n\n    // c\n    );\n    // glue: end\n"), Ok(2));
    assert!(file("", "    b();\n").is_err());
    assert!(file("fn b() {}\n", "").is_err());
    assert!(file("", "    // glue: begin\n    b();\n").is_err());
    assert!(file("", "    // glue: begin\n    // appmon: begin\n    // appmon: end\n    // glue: end\n").is_err());
    assert!(glue("async fn main() -> Result<()> {\n    Ok(())\n}\nfn c() {}\n").is_err());
}
