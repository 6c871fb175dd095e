//! The limits: reading the bytes, parsing them, and encoding the final rows, each alone on one thread; and what share
//! of the whole they make.
//!
//! Parsing is the product's own scanner with a pipeline that wants nothing of any document: every byte is checked,
//! nothing is kept. Encoding takes the rows that the nine tables hold at the end, with the product's writer.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::time::Instant;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use millrace::decode::{Guide, Reader};
use millrace::flatten::Flattener;
use millrace::maintain::Policy;
use millrace::pipeline::model::Shape;
use millrace::tables::parquet;

use crate::bulk::EVENTS;
use crate::common::{self, cpu, pipeline};
use crate::figures::Figure;
use crate::place::{Layout, Place};

/// Text that is decoded at once, as a batch is.
const BUDGET: u64 = 64 << 20;

/// Seconds on the clock and of the processor.
#[derive(Default)]
struct Took {
    wall: Vec<f64>,
    cpu: Vec<f64>,
}

impl Took {
    fn time(&mut self, work: impl FnOnce()) {
        let of = || cpu("self").0 + cpu("self").1;
        let (begin, before) = (Instant::now(), of());
        work();
        self.wall.push(begin.elapsed().as_secs_f64());
        self.cpu.push(of() - before);
    }

    fn figures(&self, name: &str) -> [Figure; 2] {
        [
            Figure::new(name, "s", self.wall.clone()),
            Figure::new(format!("{name}, processor"), "s", self.cpu.clone()),
        ]
    }
}

pub fn run(place: &Place) -> Vec<Figure> {
    let input = place.input(place.size(EVENTS, 5_000), Layout::Lines);
    let text = fs::read_dir(&input).unwrap().next().unwrap().unwrap().path();
    let root = place.root();
    root.once(&input, &["--no-mirror"]);
    let rows = final_rows(root.path());
    let (shape, nothing) = (pipeline().shape.clone(), Shape::default());
    let flattener = Flattener::new(&pipeline());
    let [mut read, mut scan, mut decode, mut check, mut encode, mut whole] =
        [(); 6].map(|()| Took::default());
    for _ in 0..place.repeats(3) {
        read.time(|| read_all(&text));
        scan.time(|| decode_all(&text, &nothing, None));
        decode.time(|| decode_all(&text, &shape, None));
        check.time(|| decode_all(&text, &shape, Some(&flattener)));
        encode.time(|| rows.iter().for_each(|rows| drop(parquet::encode(rows).unwrap())));
        let ran = place.root().once(&input, &["--no-mirror", "--threads", "1"]);
        whole.wall.push(ran.wall);
        whole.cpu.push(ran.cpu());
    }
    let best = |took: &Took| took.cpu.iter().copied().fold(f64::INFINITY, f64::min);
    let limits = best(&read) + best(&scan) + best(&encode);
    let mut figures = Vec::new();
    figures.extend(read.figures("a: reading the bytes"));
    figures.extend(scan.figures("b: parsing, nothing kept"));
    figures.extend(encode.figures("c: encoding the final rows"));
    figures.extend(decode.figures("decoding what the pipeline wants"));
    figures.extend(check.figures("decoding and checking"));
    figures.extend(whole.figures("the whole, one decoding thread"));
    figures.push(Figure::one("a + b + c, processor, best of each", "s", limits));
    figures.push(Figure::one("(a + b + c) / whole, processor", "%", 100.0 * limits / best(&whole)));
    figures
}

fn read_all(path: &Path) {
    let mut file = File::open(path).unwrap();
    let mut block = vec![0; 1 << 20];
    while file.read(&mut block).unwrap() > 0 {}
}

/// As a run does it, on this thread: what the documents hold of `shape`, and the claims if a flattener is given.
fn decode_all(path: &Path, shape: &Shape, flattener: Option<&Flattener>) {
    let guide = Guide::new(shape);
    let file = File::open(path).unwrap();
    let input = millrace::batch::Input {
        name: "bulk.ndjson".into(),
        path: path.to_path_buf(),
        fingerprint: common::fingerprint(&file),
        file,
        resume: Default::default(),
        changed: false,
    };
    let mut reader = Reader::open(input, pipeline().limits).unwrap();
    let mut documents = 0;
    while !reader.is_done() {
        let range = reader.next(&guide, 0, BUDGET, 1).unwrap();
        documents += range.chunks.iter().map(|c| c.documents.len()).sum::<usize>();
        for chunk in &range.chunks {
            if let Some(flattener) = flattener {
                std::hint::black_box(flattener.check(chunk, 0));
            }
        }
    }
    assert!(documents > 0);
}

/// The rows of the nine tables, each as one batch.
fn final_rows(root: &Path) -> Vec<RecordBatch> {
    let session = common::open(root, false, Policy::default());
    let states = &session.root.states[..session.root.pipeline.tables.len()];
    let all = states.iter().map(|state| {
        let table = &state.table;
        let files = table.files.keys().flat_map(|file| table.read(*file).unwrap());
        let rows: Vec<RecordBatch> = files.map(|batch| batch.unwrap().rows).collect();
        concat_batches(&table.def.schema, &rows).unwrap()
    });
    all.collect()
}
