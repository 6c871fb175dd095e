//! How a generated event is written down: any white space, any order of members, escapes, overruled members.

use super::generate::Kind;

/// What is to be said; `Raw` is a number (or anything) in its source text.
#[derive(Clone)]
pub enum Node {
    Null,
    Raw(&'static str),
    Text(&'static str),
    List(Vec<Node>),
    Object(Vec<(&'static str, Node)>),
}

pub type Members = Vec<(&'static str, Node)>;

struct Text {
    out: String,
    rng: Rng,
    kind: Kind,
}

/// The text of an event, white space around it included.
pub fn spell(members: Members, rng: Rng, kind: Kind) -> Vec<u8> {
    let mut text = Text { out: String::new(), rng, kind };
    text.white();
    text.value(&Node::Object(members));
    text.white();
    text.out.into_bytes()
}

impl Text {
    fn white(&mut self) {
        let white: &[&str] = if self.kind.one_line { &[" ", "\t", "  "] } else { &[" ", "\n", "\r\n", "\t"] };
        while self.rng.one_in(8) {
            let some = self.rng.pick(white);
            self.out.push_str(some);
        }
    }

    fn value(&mut self, node: &Node) {
        match node {
            Node::Null => self.out.push_str("null"),
            Node::Raw(text) => self.out.push_str(text),
            Node::Text(text) => self.string(text),
            Node::List(all) => self.between('[', all, ']', |t, element| t.value(element)),
            Node::Object(members) => self.object(members),
        }
    }

    fn between<T>(&mut self, open: char, all: &[T], close: char, each: impl Fn(&mut Text, &T)) {
        self.out.push(open);
        for (i, one) in all.iter().enumerate() {
            if i > 0 {
                self.out.push(',');
            }
            self.white();
            each(self, one);
            self.white();
        }
        if all.is_empty() {
            self.white();
        }
        self.out.push(close);
    }

    /// Members in any order, now and then with an earlier one of the same name that does not count, and others
    /// that nobody asks for.
    fn object(&mut self, members: &Members) {
        let mut order: Vec<(&str, Option<&Node>)> = members.iter().map(|(n, v)| (*n, Some(v))).collect();
        for i in (1..order.len()).rev() {
            order.swap(i, self.rng.below(i as u64 + 1) as usize);
        }
        if self.rng.one_in(25) {
            let overruled = order.iter().map(|(name, _)| *name).next();
            order.insert(0, (overruled.unwrap_or("x"), None));
        }
        if self.rng.one_in(10) {
            order.push(("nobody asks", None));
        }
        self.between('{', &order, '}', |t, (name, value)| {
            t.string(name);
            t.white();
            t.out.push(':');
            t.white();
            match value {
                Some(value) => t.value(value),
                None => {
                    let other = t.rng.pick(&["1e999", "{\"a\":[{}]}", "\"}\\\"\"", "[[],[1,{}]]", "null"]);
                    t.out.push_str(other);
                }
            }
        });
    }

    fn string(&mut self, text: &str) {
        let eager = self.rng.one_in(20);
        self.out.push('"');
        for c in text.chars() {
            match c {
                _ if eager && self.rng.one_in(2) => self.unicode(c),
                '"' | '\\' => self.out.extend(['\\', c]),
                '/' if self.rng.one_in(2) => self.out.push_str("\\/"),
                '\n' => self.out.push_str("\\n"),
                c if c < ' ' => self.unicode(c),
                c => self.out.push(c),
            }
        }
        self.out.push('"');
    }

    fn unicode(&mut self, c: char) {
        for unit in c.encode_utf16(&mut [0; 2]) {
            self.out.push_str(&format!("\\u{unit:04X}"));
        }
    }
}

/// splitmix64.
pub struct Rng(u64);

impl Rng {
    pub fn of(numbers: &[u64]) -> Rng {
        let mut rng = Rng(1);
        for n in numbers {
            rng.0 ^= *n;
            rng.0 = rng.draw();
        }
        rng
    }

    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.draw() % n
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize].clone()
    }
}
