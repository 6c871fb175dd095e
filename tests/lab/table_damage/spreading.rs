//! Damage that still decodes: what reads a data file to write its rows elsewhere must notice first.

use std::fs;
use std::path::PathBuf;

use crate::figures::tell;
use crate::scale::pick;
use crate::support::place::{Place, order};
use crate::support::{Said, command};

fn place(files: u32) -> Place {
    let place = Place::quick();
    for n in 0..files {
        place.put(&format!("{n}.json"), order(&format!("O{n}"), "10:00:00", "PAID", &["A", "B"]));
        place.run_once(0);
    }
    place
}

fn data_file(place: &Place) -> PathBuf {
    let folder = fs::read_dir(place.path("tables/order_item")).unwrap().map(|entry| entry.unwrap().path());
    folder.filter(|path| path.extension().is_some_and(|ending| ending == "parquet")).min().unwrap()
}

/// One bit of the file at a share of its length.
fn flip(path: &PathBuf, share: f64) {
    let mut bytes = fs::read(path).unwrap();
    let at = (bytes.len() as f64 * share) as usize;
    bytes[at] ^= 4;
    fs::write(path, bytes).unwrap();
}

fn stops(said: &Said, what: &str) {
    assert_eq!(said.code, Some(1), "{what}: {said:?}");
    assert!(
        said.err.contains("checksum does not match") && said.err.contains("millrace repair"),
        "{what}: {said:?}"
    );
}

fn shares() -> impl Iterator<Item = f64> {
    let tries = pick(6, 60);
    (0..tries).map(move |n| f64::from(n) / f64::from(tries))
}

/// A mirror that is filled from damaged tables would tell the damage as if it were true.
#[test]
fn row_06_damage_does_not_get_into_the_mirror() {
    let (sound, mut flips) = (place(2), 0);
    let (path, bytes) = (data_file(&sound), fs::read(data_file(&sound)).unwrap());
    for share in shares() {
        flip(&path, share);
        fs::remove_dir_all(sound.path("database")).unwrap();
        stops(&sound.millrace(&["run", "--once"]), &format!("flipped at {share}"));
        let asked = sound.millrace(&["query", "select count(*) from order_item"]);
        assert!(asked.code != Some(0), "an empty mirror answered: {asked:?}");
        fs::write(&path, &bytes).unwrap();
        sound.run_once(0);
        sound.expect(&["verify"], 0);
        flips += 1;
    }
    tell(6, "damage and a new mirror", &[("flips", flips), ("unseen", 0)]);
}

/// Compaction gives the new file a checksum of its own: damage in it would be sound for ever after.
#[test]
fn row_06_damage_does_not_get_into_another_file() {
    let (mut flips, mut seen) = (0, 0);
    for share in shares() {
        let sound = place(2);
        flip(&data_file(&sound), share);
        sound.put("more.json", order("O9", "10:00:00", "PAID", &["A"]));
        let mut eager = command(sound.folder(), &["run", "--once"]);
        let output = eager.env("MILLRACE_EAGER", "1").output().unwrap();
        let said = Said {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        };
        stops(&said, &format!("flipped at {share}"));
        flips += 1;
        seen += 1;
        sound.expect(&["repair"], 0);
        assert_eq!(sound.lines("O0").len() + sound.lines("O1").len() + sound.lines("O9").len(), 5);
        sound.expect(&["verify"], 0);
    }
    tell(6, "damage and compaction", &[("flips", flips), ("seen", seen)]);
}
