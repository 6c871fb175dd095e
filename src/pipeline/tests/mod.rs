//! The pipeline file as a whole: what is taken, what is refused and where, and that nothing makes it panic.

mod compiled;
mod orders;
mod refused;
mod robust;

use super::model::{Pipeline, Shape, Step, Table};
use super::{Problem, parse};

/// Small, right, and with one of everything: the wrong ones below are this with one change.
const SMALL: &str = r#"version = 1
name = "shop"
[source]
path = "in"
[event]
key = "$.id"
sequence = { path = "$.at", type = "timestamp" }
[tables.line]
each = "$.lines[*]"
owner = ["shop_id"]
key = ["shop_id", "sku"]
[tables.line.columns]
shop_id = "$.id"
sku = "@.sku"
id = { hash = ["shop_id", "sku"] }
price = { path = "@.price", type = "decimal(18,4)" }
person_id = { path = "$.person.id", references = "person.id" }
person_name = { lookup = { table = "person", match = { id = "person_id" }, take = "name" } }
[tables.person]
key = ["id"]
[tables.person.columns]
id = "$.person.id"
name = "$.person.name"
age = { path = "$.person.age", type = "int64", on_error = "null" }
"#;

fn compiled(text: &str) -> Pipeline {
    parse(text, "t.toml").unwrap_or_else(|p| panic!("{}", lines(&p)))
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(|p| format!("{p}\n")).collect()
}

fn swap(from: &str, to: &str) -> String {
    assert_eq!(SMALL.matches(from).count(), 1, "{from:?} must stand once in SMALL");
    SMALL.replace(from, to)
}

/// SMALL with one change is refused with exactly these problems.
fn refused(from: &str, to: &str, problems: &[&str]) {
    refused_text(&swap(from, to), problems);
}

fn refused_text(text: &str, problems: &[&str]) {
    let found = parse(text, "t.toml").err().unwrap_or_else(|| panic!("taken:\n{text}"));
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    let wanted: Vec<String> = problems.iter().map(|p| format!("t.toml:{p}")).collect();
    assert_eq!(found, wanted, "\n{text}");
}

fn table<'p>(pipeline: &'p Pipeline, name: &str) -> &'p Table {
    pipeline.tables.iter().find(|t| t.name == name).unwrap()
}

fn index(pipeline: &Pipeline, name: &str) -> usize {
    pipeline.tables.iter().position(|t| t.name == name).unwrap()
}

/// The member names that the steps lead through.
fn resolve(shape: &Shape, from: u32, steps: &[Step]) -> String {
    let (mut node, mut text) = (from as usize, String::new());
    for step in steps {
        match step {
            Step::Field(slot) => {
                let (name, child) = &shape.nodes[node].fields[*slot as usize];
                text.push_str(&format!(".{name}"));
                node = *child as usize;
            }
            Step::Index(i) => {
                text.push_str(&format!("[{i}]"));
                node = shape.nodes[node].element.unwrap() as usize;
            }
        }
    }
    text
}
