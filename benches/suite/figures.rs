//! A measured figure with its target, and all of a run as a table and as JSON.

use serde_json::{Value, json};

use crate::machine;

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target {
    None,
    AtMost(f64),
    AtLeast(f64),
}

impl Target {
    pub fn text(self) -> String {
        match self {
            Target::None => String::new(),
            Target::AtMost(n) => format!("at most {}", short(n)),
            Target::AtLeast(n) => format!("at least {}", short(n)),
        }
    }
}

#[derive(Debug, Clone)]
pub struct Figure {
    pub name: String,
    pub unit: &'static str,
    /// Sorted.
    pub samples: Vec<f64>,
    pub target: Target,
}

impl Figure {
    pub fn new(name: impl Into<String>, unit: &'static str, mut samples: Vec<f64>) -> Figure {
        samples.sort_by(f64::total_cmp);
        Figure { name: name.into(), unit, samples, target: Target::None }
    }

    pub fn one(name: impl Into<String>, unit: &'static str, value: f64) -> Figure {
        Figure::new(name, unit, vec![value])
    }

    pub fn at_most(self, n: f64) -> Figure {
        Figure { target: Target::AtMost(n), ..self }
    }

    pub fn at_least(self, n: f64) -> Figure {
        Figure { target: Target::AtLeast(n), ..self }
    }

    pub fn min(&self) -> f64 {
        self.samples.first().copied().unwrap_or(f64::NAN)
    }

    pub fn median(&self) -> f64 {
        let half = self.samples.len() / 2;
        match self.samples.get(half) {
            None => f64::NAN,
            Some(upper) if self.samples.len() % 2 == 1 => *upper,
            Some(upper) => (self.samples[half - 1] + upper) / 2.0,
        }
    }

    pub fn max(&self) -> f64 {
        self.samples.last().copied().unwrap_or(f64::NAN)
    }

    /// By the median; `None` without a target.
    pub fn met(&self) -> Option<bool> {
        match self.target {
            Target::None => None,
            Target::AtMost(n) => Some(self.median() <= n),
            Target::AtLeast(n) => Some(self.median() >= n),
        }
    }

    pub fn met_text(&self) -> &'static str {
        self.met().map_or("", |met| if met { "yes" } else { "NO" })
    }

    fn json(&self) -> Value {
        json!({ "name": self.name, "unit": self.unit, "min": self.min(), "median": self.median(),
                "max": self.max(), "samples": self.samples, "target": self.target.text(), "met": self.met() })
    }
}

/// Three digits that count; thousands apart.
pub fn short(n: f64) -> String {
    let digits = match n.abs() {
        a if a >= 100.0 || a == 0.0 || n.fract() == 0.0 => 0,
        a if a >= 10.0 => 1,
        a if a >= 0.1 => 2,
        _ => 4,
    };
    let text = format!("{n:.digits$}");
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let mut out = String::new();
    for (at, c) in whole.chars().enumerate() {
        let left = whole.len() - at;
        if at > 0 && left % 3 == 0 && !out.ends_with('-') {
            out.push(',');
        }
        out.push(c);
    }
    if fraction.is_empty() { out } else { format!("{out}.{fraction}") }
}

pub struct Measured {
    pub name: &'static str,
    pub figures: Vec<Figure>,
    pub load: (f64, f64),
    pub failed: bool,
}

pub struct Results {
    pub quick: bool,
    pub date: String,
    pub commit: String,
    pub all: Vec<Measured>,
}

impl Results {
    pub fn new(quick: bool) -> Results {
        Results { quick, date: machine::date(), commit: machine::commit(), all: Vec::new() }
    }

    pub fn add(&mut self, name: &'static str, figures: Vec<Figure>, load: (f64, f64)) {
        self.all.push(Measured { name, figures, load, failed: false });
    }

    pub fn fail(&mut self, name: &'static str) {
        self.all.push(Measured { name, figures: Vec::new(), load: (0.0, 0.0), failed: true });
    }

    pub fn has_failed(&self) -> bool {
        self.all.iter().any(|m| m.failed)
    }

    pub fn json(&self) -> String {
        let of = |m: &Measured| {
            let figures: Vec<Value> = m.figures.iter().map(Figure::json).collect();
            json!({ "measurement": m.name, "load": [m.load.0, m.load.1], "failed": m.failed, "figures": figures })
        };
        let all: Vec<Value> = self.all.iter().map(of).collect();
        let whole = json!({ "date": self.date, "commit": self.commit, "quick": self.quick,
                            "machine": machine::describe(), "results": all });
        serde_json::to_string_pretty(&whole).unwrap() + "\n"
    }

    pub fn print(&self) {
        println!("\n{}", machine::line());
        println!(
            "{} of {}{}",
            self.commit,
            self.date,
            if self.quick { ", quick: not for comparing" } else { "" }
        );
        let name = self.all.iter().flat_map(|m| &m.figures).map(|f| f.name.len()).max().unwrap_or(0);
        let titles = ["min", "median", "max"].map(|t| format!("{t:>9}")).join(" ");
        println!("\n{:<12} {:<name$} {titles} {:<9} {:<18} met", "", "", "unit", "target");
        for m in &self.all {
            if m.failed {
                println!("{:<12} FAILED", m.name);
            }
            for f in &m.figures {
                let numbers = [f.min(), f.median(), f.max()].map(|n| format!("{:>9}", short(n))).join(" ");
                let (target, met) = (f.target.text(), f.met_text());
                println!("{:<12} {:<name$} {numbers} {:<9} {target:<18} {met}", m.name, f.name, f.unit);
            }
        }
    }
}
