//! Every wrong file: what is said, and where.

use super::{SMALL, compiled, lines, refused, refused_text, swap};
use crate::pipeline::parse;

#[test]
fn syntax_errors_have_a_place() {
    refused_text("version = 1\nname = \"x", &["2:10: invalid basic string, expected `\"`"]);
    refused("name = \"shop\"", "name = \"shop\"\nname = \"shop\"", &["3:1: duplicate key"]);
}

#[test]
fn all_mistakes_are_told_at_once_and_in_order() {
    let text = SMALL
        .replace("version = 1", "version = 3")
        .replace("[source]", "[sauce]")
        .replace("owner = [\"shop_id\"]", "owner = [\"shopid\"]")
        .replace("decimal(18,4)", "decimal(18,40)")
        .replace("\"$.person.name\"", "\"$.person[name]\"");
    refused_text(
        &text,
        &[
            "1:1: missing key \"source\" in the pipeline file",
            "1:11: unknown version: this millrace reads version = 1",
            "3:2: unknown key \"sauce\"; did you mean \"source\"?",
            "10:10: table \"line\" has no column \"shopid\"; did you mean \"shop_id\"?",
            "16:36: a decimal is decimal(p,s): p digits from 1 to 38, s of them after the point, 0 to p",
            "23:18: path \"$.person[name]\": expected a number, a quoted name or *, found 'n'",
        ],
    );
}

#[test]
fn unknown_keys_are_refused_everywhere() {
    refused("[source]\n", "[source]\npaht = \"x\"\n", &["4:1: unknown key \"paht\"; did you mean \"path\"?"]);
    refused(
        "[tables.line.columns]",
        "[tables.line.colums]",
        &[
            "8:1: missing key \"columns\" in table \"line\"",
            "10:10: table \"line\" has no column \"shop_id\"",
            "11:8: table \"line\" has no column \"shop_id\"",
            "11:19: table \"line\" has no column \"sku\"",
            "12:14: unknown key \"colums\"; did you mean \"columns\"?",
        ],
    );
    let valid = "; valid: \"path\", \"type\", \"mask\", \"on_error\", \"hash\", \"lookup\", \"references\"";
    refused(
        "type = \"decimal(18,4)\"",
        "\"é\" = 1, kind_of = \"text\"",
        &[&format!("16:29: unknown key \"é\"{valid}"), &format!("16:38: unknown key \"kind_of\"{valid}")],
    );
    refused(
        ", take = \"name\"",
        ", take = \"name\", takes = 1",
        &["18:91: unknown key \"takes\"; did you mean \"take\"?"],
    );
    refused(
        "type = \"timestamp\"",
        "type = \"timestamp\", option = true",
        &["7:49: unknown key \"option\"; did you mean \"optional\"?"],
    );
    refused(
        "[event]",
        "[limits]\ndeep = 1\n[quarantine]\nrow = true\n[mirror]\nsql = true\n[event]\nkeys = 1",
        &[
            "6:1: unknown key \"deep\"; did you mean \"depth\"?",
            "8:1: unknown key \"row\"; did you mean \"raw\"?",
            "10:1: unknown key \"sql\"; did you mean \"sqlite\"?",
            "12:1: unknown key \"keys\"; did you mean \"key\"?",
        ],
    );
}

#[test]
fn missing_keys_are_named() {
    refused("version = 1\n", "", &["1:1: missing key \"version\" in the pipeline file"]);
    refused("path = \"in\"\n", "", &["3:1: missing key \"path\" in [source]"]);
    refused("key = \"$.id\"\n", "", &["5:1: missing key \"key\" in [event]"]);
    refused("key = [\"id\"]\n", "", &["19:1: missing key \"key\" in table \"person\""]);
    refused(", take = \"name\"", "", &["18:26: missing key \"take\" in \"lookup\""]);
    refused_text(
        "",
        &[
            "1:1: missing key \"event\" in the pipeline file",
            "1:1: missing key \"name\" in the pipeline file",
            "1:1: missing key \"source\" in the pipeline file",
            "1:1: missing key \"tables\" in the pipeline file",
            "1:1: missing key \"version\" in the pipeline file",
        ],
    );
}

#[test]
fn no_tables() {
    let (head, _) = SMALL.split_once("[tables.line]").unwrap();
    refused_text(&format!("{head}[tables]\n"), &["8:1: a pipeline needs at least one table"]);
}

#[test]
fn wrong_shapes() {
    refused("name = \"shop\"", "name = 1", &["2:8: \"name\" must be text, not a number"]);
    refused(
        "key = [\"id\"]",
        "key = \"id\"",
        &["20:7: \"key\" must be a list of names, as [\"a\", \"b\"], not text"],
    );
    refused("[\"id\"]", "[]", &["20:7: \"key\" is empty: it needs at least one name"]);
    refused("[\"id\"]", "[\"id\", \"id\"]", &["20:14: \"key\" names \"id\" twice"]);
    refused(
        "[\"id\"]",
        "[\"id\", 1.5]",
        &["20:14: each name in \"key\" must be text, not a number with a fraction"],
    );
    refused("\"$.person.name\"", "7", &["23:8: column \"name\" must be a table, not a number"]);
    refused(
        "\"$.person.name\"",
        "{ type = \"text\" }",
        &["23:8: a column comes from exactly one of \"path\", \"hash\" and \"lookup\""],
    );
    refused(
        "hash = [\"shop_id\", \"sku\"]",
        "hash = [\"sku\"], path = \"$.x\"",
        &["15:6: a column comes from exactly one of \"path\", \"hash\" and \"lookup\""],
    );
    refused(
        "hash = [\"shop_id\", \"sku\"]",
        "hash = [\"sku\"], mask = \"sha256\", type = \"text\"",
        &[
            "15:24: \"mask\" goes with \"path\" only: a hash is text made of other columns as they are stored",
            "15:41: \"type\" goes with \"path\" only: a hash is text made of other columns as they are stored",
        ],
    );
}

#[test]
fn wrong_words_and_units() {
    refused("decimal(18,4)", "decmal", &["16:36: unknown type \"decmal\"; did you mean \"decimal(18,4)\"?"]);
    refused(
        "\"timestamp\"",
        "\"timestmp\"",
        &["7:36: unknown type \"timestmp\"; did you mean \"timestamp\"?"],
    );
    for range in ["decimal(0,0)", "decimal(39,1)", "decimal(4,5)", "decimal(4,-1)", "decimal(4)", "decimal"] {
        refused(
            "decimal(18,4)",
            range,
            &["16:36: a decimal is decimal(p,s): p digits from 1 to 38, s of them after the point, 0 to p"],
        );
    }
    refused(
        "on_error = \"null\"",
        "on_error = \"nul\"",
        &["24:59: unknown on_error \"nul\"; did you mean \"null\"?"],
    );
    refused(
        "on_error = \"null\"",
        "mask = \"sha-256\"",
        &["24:55: unknown mask \"sha-256\"; did you mean \"sha256\"?"],
    );
    let source = |line: &str, problem: &str| {
        refused("path = \"in\"\n", &format!("path = \"in\"\n{line}\n"), &[problem]);
    };
    source("settle = \"1 sec\"", "5:10: unknown unit in \"settle\": \"sec\"; did you mean \"s\"?");
    source("settle = 1", "5:10: \"settle\" must be a time with its unit, as \"1s\", not a number");
    source("settle = \"25h\"", "5:10: \"settle\" must be at most 24h");
    source(
        "batch_bytes = \"64 Mib\"",
        "5:15: unknown unit in \"batch_bytes\": \"Mib\"; did you mean \"MiB\"?",
    );
    source(
        "batch_bytes = \"99999999999999999999 GiB\"",
        "5:15: \"batch_bytes\" must lie between 1 and 1 TiB",
    );
    source("batch_bytes = -1", "5:15: \"batch_bytes\" must lie between 1 and 1 TiB");
    source(
        "batch_bytes = \"MiB\"",
        "5:15: \"batch_bytes\" must be a whole number and a unit; units: \"B\", \"KiB\", \
        \"MiB\", \"GiB\", \"TiB\", \"KB\", \"MB\", \"GB\", \"TB\"",
    );
    source("batch_files = 0", "5:15: \"batch_files\" must lie between 1 and 1000000");
    source("[limits]\ndepth = 5000", "6:9: \"depth\" must lie between 1 and 1024");
    source("[history]\ncommits = 0", "6:11: \"commits\" must lie between 1 and 1099511627776");
    source("[limits]\ndocument_bytes = \"2 GiB\"", "6:18: \"document_bytes\" must lie between 1 and 1 GiB");
}

#[test]
fn names_keep_the_pattern() {
    let pattern = "must be lower-case letters, digits and _, and begin with a letter";
    let reserved = "begins with _, which is reserved for millrace's own";
    refused("\"shop\"", "\"Shop\"", &[&format!("2:8: pipeline name \"Shop\" {pattern}")]);
    refused("\"shop\"", "\"\"", &[&format!("2:8: pipeline name \"\" {pattern}")]);
    refused("\"shop\"", "\"../x\"", &[&format!("2:8: pipeline name \"../x\" {pattern}")]);
    refused("\"shop\"", "\"_shop\"", &[&format!("2:8: pipeline name \"_shop\" {reserved}")]);
    refused("age =", "_age =", &[&format!("24:1: column name \"_age\" {reserved}")]);
    refused("age =", "\"a ge\" =", &[&format!("24:1: column name \"a ge\" {pattern}")]);
    let long = "a".repeat(64);
    refused(
        "age =",
        &format!("{long} ="),
        &[&format!("24:1: column name \"{long}\" is longer than 63 characters")],
    );
    let tables = "[tables._t]\nkey = [\"a\"]\ncolumns = { a = \"$.a\" }\n";
    refused_text(&format!("{SMALL}{tables}"), &[&format!("25:9: table name \"_t\" {reserved}")]);
}

#[test]
fn names_that_differ_only_by_case() {
    let pattern = "must be lower-case letters, digits and _, and begin with a letter";
    refused(
        "age =",
        "Name =",
        &[
            &format!("24:1: column name \"Name\" {pattern}"),
            "24:1: columns \"name\" and \"Name\" differ only by case",
        ],
    );
    refused_text(
        &format!("{SMALL}[tables.Person]\nkey = [\"a\"]\ncolumns = {{ a = \"$.a\" }}\n"),
        &[
            &format!("25:9: table name \"Person\" {pattern}"),
            "25:9: tables \"person\" and \"Person\" differ only by case",
        ],
    );
}

#[test]
fn paths_are_placed_by_character() {
    refused(
        "\"@.sku\"",
        "\"@.é..x\"",
        &["14:11: path \"@.é..x\": .. is not supported: a path names one place"],
    );
    refused(
        "\"@.sku\"",
        "\"@\\u002e.x\"",
        &["14:7: path \"@..x\": .. is not supported: a path names one place"],
    );
    refused(
        "\"@.sku\"",
        "\"sku\"",
        &[
            "14:8: path \"sku\": expected $ (the event), @ (the row's element) or ^ (the enclosing element), found 's'",
        ],
    );
    refused(
        "\"@.sku\"",
        "\"@.a[*]\"",
        &["14:12: path \"@.a[*]\": [*] belongs in \"each\": a column takes one value, as by [0]"],
    );
    refused(
        "\"$.lines[*]\"",
        "\"$.lines\"",
        &["9:8: \"each\" ends with [*]: one row for each element of that array"],
    );
    refused("\"$.lines[*]\"", "\"@.lines[*]\"", &["9:8: \"each\" begins with $, the event"]);
}

#[test]
fn one_place_is_one_thing() {
    refused(
        "\"$.person.name\"",
        "\"$.person[0]\"",
        &["23:8: person.name ($.person[0]) needs an array where person.id ($.person.id) needs an object"],
    );
    refused(
        "\"$.person.name\"",
        "\"$.person\"",
        &["23:8: person.name ($.person) needs a single value where person.id ($.person.id) needs an object"],
    );
    refused(
        "\"@.sku\"",
        "\"$.id.sku\"",
        &["14:7: line.sku ($.id.sku) needs an object where the event's key ($.id) needs a single value"],
    );
}

#[test]
fn names_that_name_nothing() {
    refused("[\"id\"]", "[\"ide\"]", &["20:8: table \"person\" has no column \"ide\"; did you mean \"id\"?"]);
    refused(
        "hash = [\"shop_id\", \"sku\"]",
        "hash = [\"skku\"]",
        &["15:16: table \"line\" has no column \"skku\"; did you mean \"sku\"?"],
    );
    refused(
        "table = \"person\"",
        "table = \"persons\"",
        &["18:36: unknown table \"persons\"; did you mean \"person\"?"],
    );
    refused(
        "take = \"name\"",
        "take = \"nam\"",
        &["18:83: table \"person\" has no column \"nam\"; did you mean \"name\"?"],
    );
    refused(
        "match = { id = \"person_id\" }",
        "match = { di = \"persn_id\" }",
        &[
            "18:56: table \"person\" has no column \"di\"; valid: \"id\", \"name\", \"age\"",
            "18:61: table \"line\" has no column \"persn_id\"; did you mean \"person_id\"?",
        ],
    );
    refused(
        "\"person.id\"",
        "\"people.id\"",
        &["17:50: unknown table \"people\"; valid: \"person\", \"line\""],
    );
    refused(
        "\"person.id\"",
        "\"person.key\"",
        &["17:50: table \"person\" has no column \"key\"; valid: \"id\", \"name\", \"age\""],
    );
    refused("\"person.id\"", "\"person\"", &["17:50: \"references\" of a column is \"table.column\""]);
}

#[test]
fn keys_can_be_told_apart() {
    refused(
        "key = [\"shop_id\", \"sku\"]",
        "key = [\"shop_id\", \"price\"]",
        &["11:19: key column \"price\" is decimal(18,4); a key is text or int64"],
    );
    refused(
        "sku = \"@.sku\"",
        "sku = { path = \"@.sku\", type = \"float64\" }",
        &["11:19: key column \"sku\" is float64; a key is text or int64"],
    );
    compiled(&swap("sku = \"@.sku\"", "sku = { path = \"@.sku\", mask = \"sha256\" }"));
    compiled(&swap("sku = \"@.sku\"", "sku = { path = \"@.sku\", type = \"float64\", mask = \"sha256\" }"));
    for mask in ["redact", "drop"] {
        let why =
            format!("cannot use \"sku\": by mask = \"{mask}\" all its values look the same; use sha256");
        refused(
            "sku = \"@.sku\"",
            &format!("sku = {{ path = \"@.sku\", mask = \"{mask}\" }}"),
            &[&format!("11:19: a key {why}"), &format!("15:27: a hash {why}")],
        );
    }
}

#[test]
fn owners_hold_the_event_key() {
    refused(
        "key = [\"shop_id\", \"sku\"]",
        "key = [\"sku\"]",
        &["10:10: owner column \"shop_id\" must be part of the table's key"],
    );
    refused(
        "owner = [\"shop_id\"]",
        "owner = [\"shop_id\", \"sku\"]",
        &["10:21: \"owner\" holds the event's key part by part: 1 in [event], 2 here"],
    );
    refused(
        "shop_id = \"$.id\"",
        "shop_id = \"$.id2\"",
        &["10:10: owner column \"shop_id\" must read the event's key: $.id, as text"],
    );
    refused(
        "shop_id = \"$.id\"",
        "shop_id = { path = \"$.id\", type = \"int64\" }",
        &["10:10: owner column \"shop_id\" must read the event's key: $.id, as text"],
    );
    refused(
        "owner = [\"shop_id\"]",
        "owner = [\"id\"]",
        &[
            "10:10: owner column \"id\" must be part of the table's key",
            "10:10: owner column \"id\" must read the event's key: $.id, as text",
        ],
    );
    compiled(&swap("shop_id = \"$.id\"", "shop_id = \"^['id']\""));
    refused(
        "\"$.id\"\nsequence",
        "[\"$.id\", { path = \"$.n\", type = \"int64\" }]\nsequence",
        &["10:10: \"owner\" holds the event's key part by part: 2 in [event], 1 here"],
    );
}

#[test]
fn the_event_has_a_key_and_a_sequence() {
    let key = |to: &str, problem: &str| {
        let text = swap("key = \"$.id\"", &format!("key = {to}"));
        let found = parse(&text, "t").unwrap_err();
        assert!(lines(&found).contains(problem), "{}", lines(&found));
    };
    key(
        "{ path = \"$.id\", optional = true }",
        "6:35: a part of the event's key cannot be optional: without it nobody owns the event",
    );
    key("{ path = \"$.id\", type = \"float64\" }", "6:7: a part of the event's key is text or int64");
    key("\"@.id\"", "6:7: the event's key and sequence are read from the event: begin with $");
    key("[]", "6:7: \"key\" is empty: it needs at least one path");
    let sequence = "{ path = \"$.at\", type = \"timestamp\" }";
    refused(sequence, "\"$.at\"", &["7:12: a part of the sequence needs type = \"timestamp\" or \"int64\""]);
    let part = |name: &str| format!("{{ path = \"$.{name}\", type = \"int64\" }}");
    refused(
        sequence,
        &format!("[{}, {}, {}]", part("a"), part("b"), part("c")),
        &["7:81: a sequence has one or two parts"],
    );
    refused(sequence, "[]", &["7:12: \"sequence\" is empty: it needs at least one path"]);
}

#[test]
fn nothing_needs_itself() {
    refused("hash = [\"shop_id\", \"sku\"]", "hash = [\"id\"]", &["15:1: column needs itself: id -> id"]);
    let text = swap("hash = [\"shop_id\", \"sku\"]", "hash = [\"person_name\"]");
    let text = text.replace("id = \"person_id\"", "name = \"id\"");
    refused_text(&text, &["15:1: column needs itself: id -> person_name -> id"]);
}

#[test]
fn lookups_do_not_go_in_circles() {
    let back = format!("{SMALL}line = {{ lookup = {{ table = \"line\", take = \"id\" }} }}\n");
    refused_text(&back, &["25:29: lookups go in a circle: person -> line -> person"]);
    refused(
        "table = \"person\", match = { id = \"person_id\" }",
        "table = \"line\"",
        &["18:36: a lookup goes to another table, not to its own"],
    );
}

#[test]
fn what_is_tied_has_one_type() {
    refused(
        "\"person.id\"",
        "\"person.age\"",
        &["17:50: a reference ties \"person_id\" to person.age: their types differ (text, int64)"],
    );
    refused(
        "match = { id = \"person_id\" }",
        "match = { age = \"person_id\" }",
        &["18:62: a lookup ties \"person_id\" to person.age: their types differ (text, int64)"],
    );
    refused(
        "references = \"person.id\"",
        "mask = \"sha256\", references = \"person.id\"",
        &[
            "17:67: a reference ties \"person_id\" to person.id: one is stored as SHA-256, the other is not, so they never meet",
            "18:61: a lookup ties \"person_id\" to person.id: one is stored as SHA-256, the other is not, so they never meet",
        ],
    );
    let long = |columns: &str, to: &str| {
        format!(
            "{SMALL}[[tables.line.references]]\ncolumns = {columns}\nto = {{ table = \"person\", columns = {to} }}\n"
        )
    };
    compiled(&long("[\"sku\", \"id\"]", "[\"id\", \"name\"]"));
    refused_text(
        &long("[\"sku\", \"id\"]", "[\"id\"]"),
        &["25:1: a reference pairs columns one to one: 2 here, 1 there"],
    );
    refused_text(
        &long("[\"person_id\"]", "[\"id\"]"),
        &["25:1: each of these columns already has a reference"],
    );
}
