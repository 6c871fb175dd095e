//! Small, nasty sets of events: few orders, keys, times and versions, so that everything collides; every spelling
//! of a value that the model allows, and in a share of events values that it does not.

use proptest::prelude::*;

use super::spelling::{Members, Node, Rng, spell};

/// What the texts may look like, so that a test can put them into the files it wants.
#[derive(Debug, Clone, Copy, Default)]
pub struct Kind {
    /// No line break in a text: fit for NDJSON.
    pub one_line: bool,
    /// Some texts are no JSON at all: not fit to stand before another one in a file, unless line by line.
    pub malformed: bool,
}

/// Sets of 1 to 29 event texts, repeats included. Shrinks by leaving events out.
pub fn event_sets(kind: Kind) -> impl Strategy<Value = Vec<Vec<u8>>> {
    (any::<u64>(), proptest::collection::vec(0u64..60, 1..30))
        .prop_map(move |(salt, numbers)| numbers.into_iter().map(|n| event(salt, n, kind)).collect())
}

/// The same without proptest: `count` events of one seed.
pub fn events(seed: u64, count: usize, kind: Kind) -> Vec<Vec<u8>> {
    let mut rng = Rng::of(&[seed]);
    (0..count).map(|_| event(seed, rng.below(60), kind)).collect()
}

/// Event `number` of the family `salt`. Numbers that are 20 apart have the same content at another time, under
/// another version, in another spelling.
pub fn event(salt: u64, number: u64, kind: Kind) -> Vec<u8> {
    let mut rng = Rng::of(&[salt, number, 2]);
    if kind.malformed && rng.one_in(12) {
        return rng.pick(&MALFORMED).to_vec();
    }
    let mut content = Content::of(Rng::of(&[salt, number % 20]));
    let mut members = content.order();
    members.extend(Content::of(Rng::of(&[salt, number, 1])).when());
    spell(members, rng, kind)
}

const MALFORMED: [&[u8]; 9] = [
    b"{",
    b"{\"txt_detl_idt_pedi_pgto\":\"O1\"",
    b"{\"txt_detl_idt_pedi_pgto\":\"O1\",}",
    b"{\"dat_atui\":tru}",
    b"{\"num_ulti_vers_sist\":01}",
    b"{\"nom\":\"\xff\xfe\"}",
    b"not json",
    b"17",
    b"\"a text\"",
];

// ---------------------------------------------------------------------------------------------- what is said

struct Content {
    rng: Rng,
    /// One in so many values does not fit; 0 = all fit.
    spoil: u64,
}

static ORDERS: [Node; 5] =
    [Node::Text("O1"), Node::Text("O2"), Node::Text("O3"), Node::Text("17"), Node::Raw("17")];
const ITEMS: [&str; 3] = ["I1", "I2", "I3"];
const SELLERS: [&str; 3] = ["S1", "S2", "S3"];
const PARCELS: [&str; 3] = ["SH1", "SH2", "2:SH"];
const PLACES: [&str; 3] = ["default", "CD1", ""];
const TEXTS: [&str; 14] = [
    "a",
    "b",
    "c",
    "",
    " ",
    "São Paulo",
    "SÃ£o Paulo",
    "\"\\/",
    "\t\n\u{1}",
    "😀",
    "日本",
    "null",
    "-",
    "1:a",
];
/// Three moments, each in several spellings.
const TIMES: [&str; 11] = [
    "2024-03-01T10:00:00.000Z",
    "2024-03-01T10:00:00Z",
    "2024-03-01T10:00:00",
    "2024-03-01T07:00:00-03:00",
    "2024-03-01T10:00:00.0000009Z",
    "2024-03-01T10:00:00.250Z",
    "2024-03-01T10:00:00.25",
    "2024-03-01T11:00:00.250000+01:00",
    "2024-02-29T23:59:59.999Z",
    "2024-03-01T00:59:59.999+01:00",
    "1969-12-31T23:59:59.999999Z",
];
static BAD_TIMES: [Node; 6] = [
    Node::Text("ontem"),
    Node::Text(""),
    Node::Text("2023-02-29T00:00:00Z"),
    Node::Text("2024-03-01"),
    Node::Text("2024-03-01T24:00:00Z"),
    Node::Raw("1709287200000"),
];
/// 10 is newer than 9, whatever their texts say; null is as good as absent.
static VERSIONS: [Node; 9] = [
    Node::Null,
    Node::Text("1"),
    Node::Text("1"),
    Node::Raw("1"),
    Node::Text("9"),
    Node::Text("10"),
    Node::Raw("1e1"),
    Node::Raw("10.0"),
    Node::Text("-3"),
];
static MONEY: [Node; 18] = [
    Node::Raw("0"),
    Node::Raw("-0.0"),
    Node::Raw("10"),
    Node::Raw("10.0"),
    Node::Text("10"),
    Node::Text("10.00"),
    Node::Raw("1e1"),
    Node::Raw("16.22"),
    Node::Raw("0.00005"),
    Node::Raw("0.00015"),
    Node::Raw("0.000050000000000000001"),
    Node::Raw("-1.00005"),
    Node::Text("1.00025"),
    Node::Raw("12345678901234.5678"),
    Node::Raw("99999999999999.99994"),
    Node::Text("-99999999999999.9999"),
    Node::Raw("5E-5"),
    Node::Raw("1e-300"),
];
static BAD_MONEY: [Node; 8] = [
    Node::Raw("1e400"),
    Node::Raw("100000000000000"),
    Node::Raw("99999999999999.99995"),
    Node::Text(""),
    Node::Text("dez"),
    Node::Text("1,5"),
    Node::Raw("true"),
    Node::Raw("[]"),
];
static COUNTS: [Node; 9] = [
    Node::Raw("1"),
    Node::Raw("1.0"),
    Node::Text("1"),
    Node::Text("1.00"),
    Node::Raw("10e-1"),
    Node::Raw("2"),
    Node::Raw("0"),
    Node::Raw("-9223372036854775808"),
    Node::Raw("9223372036854775807.0"),
];
static BAD_COUNTS: [Node; 6] = [
    Node::Raw("1.5"),
    Node::Text("dois"),
    Node::Text(""),
    Node::Raw("9223372036854775808"),
    Node::Raw("false"),
    Node::Raw("{}"),
];
static FLOATS: [Node; 7] = [
    Node::Raw("2"),
    Node::Raw("2.0"),
    Node::Text("2"),
    Node::Raw("0.1"),
    Node::Raw("2.675"),
    Node::Raw("-1e-3"),
    Node::Raw("123456789.125"),
];

impl Content {
    fn of(mut rng: Rng) -> Content {
        let spoil = if rng.one_in(5) { 40 } else { 0 };
        Content { rng, spoil }
    }

    /// `num_ulti_vers_sist` and `dat_atui`.
    fn when(&mut self) -> Members {
        let mut members = Vec::new();
        if !self.rng.one_in(4) {
            let version = match self.spoiled() {
                true => self.rng.pick(&BAD_COUNTS),
                false => self.rng.pick(&VERSIONS),
            };
            members.push(("num_ulti_vers_sist", version));
        }
        members.push(("dat_atui", self.moment()));
        members
    }

    fn order(&mut self) -> Members {
        let lines = self.list(2, Content::line);
        let parcels = self.list(2, Content::parcel);
        let promotions = self.list(1, Content::promotion);
        let mut members: Members = vec![
            ("list_desc_item_pedi", Node::Raw("17")), // no column asks for it
            ("objt_clie", self.customer()),
            ("objt_ende_entg_pedi", self.address()),
        ];
        let id = self.rng.pick(&ORDERS);
        members.push(("txt_detl_idt_pedi_pgto", if self.spoiled() { Node::Null } else { id }));
        // Only lines take these values: without a line nobody looks whether they fit.
        let spoil = std::mem::replace(&mut self.spoil, 0);
        self.spoil = if matches!(&lines, Node::List(l) if l.is_empty()) || matches!(lines, Node::Null) {
            0
        } else {
            spoil
        };
        members.extend(self.head());
        self.spoil = spoil;
        self.maybe(&mut members, "list_item_pedi", lines);
        self.maybe(&mut members, "list_envo", parcels);
        self.maybe(&mut members, "list_prmo", promotions);
        members
    }

    fn head(&mut self) -> Members {
        let mut members = Vec::new();
        for name in ["stat_pedi", "stat_pgto", "idt_loja", "cod_idef_clie", "cod_aces_tokn"] {
            let value = self.text();
            self.maybe(&mut members, name, value);
        }
        let created = self.time();
        self.maybe(&mut members, "dat_hor_tran", created);
        let status = self.texts(&["cod_sub_stat_pedi", "nom_sub_stat_pedi"]);
        self.maybe(&mut members, "objt_sub_stat_pedi", status);
        let summary = self.summary();
        self.maybe(&mut members, "objt_des_rsum", summary);
        members
    }

    fn summary(&mut self) -> Node {
        let mut members = Vec::new();
        for name in ["num_item", "qtd_maxi_temp_envo"] {
            let value = match self.spoiled() {
                true => Node::Raw("1e400"),
                false => self.rng.pick(&FLOATS),
            };
            self.maybe(&mut members, name, value);
        }
        self.moneys(
            &mut members,
            &[
                "vlr_totl_pedi",
                "vlr_totl_desc",
                "vlr_cust_totl_envo",
                "vlr_desc_totl_envo",
                "vlr_desc_conc_pedi",
                "vlr_fina_pedi",
            ],
        );
        self.object(members)
    }

    fn line(&mut self) -> Node {
        let mut members = vec![("cod_vrne_prod", self.key(&ITEMS))];
        let seller = if self.rng.one_in(5) { Node::Null } else { self.key(&SELLERS) };
        self.maybe(&mut members, "idt_venr", seller);
        for name in [
            "cod_ofrt_ineo_requ",
            "nom_venr",
            "idt_vrne_venr",
            "nom_prod_orig",
            "nom_item",
            "nom_oped_empr",
            "des_moda_entg_item",
        ] {
            let value = self.text();
            self.maybe(&mut members, name, value);
        }
        self.moneys(&mut members, &["vlr_fret", "vlr_desc_envo", "vlr_totl_fret", "vlr_prod", "vlr_oril"]);
        for name in ["qtd_item_pedi", "qtd_dia_prz_entg"] {
            let value = self.count();
            self.maybe(&mut members, name, value);
        }
        let due = self.time();
        self.maybe(&mut members, "dat_hor_esda_entg_item", due);
        let places = self.list(1, |c| {
            let place = if c.rng.one_in(4) { Node::Null } else { c.key(&PLACES) };
            c.object(vec![("cod_loja_vend", place), ("qtd_loja_item", Node::Raw("[1]"))])
        });
        self.maybe(&mut members, "list_cod_loja_vend", places);
        self.object(members)
    }

    fn parcel(&mut self) -> Node {
        let mut members = vec![("cod_tipo_entg", self.key(&PARCELS))];
        let (status, seller) = (self.text(), self.key(&SELLERS));
        self.maybe(&mut members, "nom_stat_entg", status);
        self.maybe(&mut members, "cod_venr", seller);
        let contents = self.list(2, Content::content);
        self.maybe(&mut members, "list_item_envo", contents);
        let substatus = self.texts(&["cod_sub_stat_entg", "nom_sub_stat_entg"]);
        self.maybe(&mut members, "objt_sub_stat_envo", substatus);
        let mut bill = vec![("dat_emis_nail", self.time())];
        let number = self.text();
        self.maybe(&mut bill, "cod_nota_fisc", number);
        let bill = self.object(bill);
        self.maybe(&mut members, "objt_carg_fatm", bill);
        let tracking = vec![("dat_envo_rtmt", self.time()), ("prco_rtmt", self.text())];
        let tracking = self.object(tracking);
        self.maybe(&mut members, "objt_des_stat_rtmt", tracking);
        let delivered = self.time();
        self.maybe(&mut members, "dat_emis_cpvt", delivered);
        self.object(members)
    }

    fn content(&mut self) -> Node {
        let mut members = vec![("cod_prod", self.key(&ITEMS))];
        let (quantity, status, since) = (self.count(), self.text(), self.time());
        self.maybe(&mut members, "qtd_prod", quantity);
        self.maybe(&mut members, "stat_entg", status);
        self.maybe(&mut members, "dat_hor_atui_item_entg", since);
        let substatus = self.texts(&["cod_sub_stat_item", "nom_sub_stat_item"]);
        self.maybe(&mut members, "objt_sub_stat_item", substatus);
        self.object(members)
    }

    fn promotion(&mut self) -> Node {
        let mut members = Vec::new();
        let id = if self.rng.one_in(4) { Node::Null } else { self.key(&["P1", "P2"]) };
        self.maybe(&mut members, "cod_prmo", id);
        let name = self.text();
        self.maybe(&mut members, "nom_prmo", name);
        let coupon = self.texts(&["cod_idef_cupo", "nom_tipo_cupo", "cod_cupo"]);
        self.maybe(&mut members, "objt_cupo", coupon);
        self.moneys(&mut members, &["vlr_cnfg_desc", "vlr_aplc_desc"]);
        self.object(members)
    }

    fn customer(&mut self) -> Node {
        let mut members = Vec::new();
        let id = if self.rng.one_in(5) { Node::Null } else { self.key(&["C1", "C2"]) };
        self.maybe(&mut members, "cod_rfrc_clie", id);
        let name = self.text();
        self.maybe(&mut members, "nom_clie", name);
        let phone = self.texts(&["cod_area_tel", "cod_pais_tel", "num_tel_clie"]);
        self.maybe(&mut members, "objt_tel_clie", phone);
        self.object(members)
    }

    fn address(&mut self) -> Node {
        let mut members = Vec::new();
        for name in ["nom_pess", "nom_cida_ende_entg", "cod_cep"] {
            let value = if self.rng.one_in(2) { Node::Null } else { self.text() };
            self.maybe(&mut members, name, value);
        }
        self.object(members)
    }

    // What a value is, or is not.

    fn spoiled(&mut self) -> bool {
        self.spoil > 0 && self.rng.one_in(self.spoil)
    }

    /// Pushes the member, leaves it out, or makes it null.
    fn maybe(&mut self, members: &mut Members, name: &'static str, value: Node) {
        match self.rng.below(10) {
            0 => {}
            1 => members.push((name, Node::Null)),
            _ => members.push((name, value)),
        }
    }

    fn object(&mut self, members: Members) -> Node {
        if self.spoiled() {
            self.rng.pick(&[Node::Raw("5"), Node::Text("x"), Node::Raw("[]")]).clone()
        } else {
            Node::Object(members)
        }
    }

    /// Zero to three elements; one in `nulls × 20` of them is null.
    fn list(&mut self, nulls: u64, each: impl Fn(&mut Content) -> Node) -> Node {
        if self.spoiled() {
            return self.rng.pick(&[Node::Raw("true"), Node::Raw("{}"), Node::Text("")]).clone();
        }
        let length = self.rng.below(4);
        let element = |c: &mut Content| if c.rng.one_in(nulls * 20) { Node::Null } else { each(c) };
        Node::List((0..length).map(|_| element(self)).collect())
    }

    fn key(&mut self, of: &[&'static str]) -> Node {
        if self.spoiled() { Node::Null } else { Node::Text(self.rng.pick(of)) }
    }

    fn text(&mut self) -> Node {
        if self.spoiled() {
            return self.rng.pick(&[Node::Raw("[]"), Node::Raw("{}")]).clone();
        }
        match self.rng.below(12) {
            0 => self
                .rng
                .pick(&[Node::Raw("10"), Node::Raw("10.0"), Node::Raw("1e400"), Node::Raw("true")])
                .clone(),
            _ => Node::Text(self.rng.pick(&TEXTS)),
        }
    }

    fn texts(&mut self, names: &[&'static str]) -> Node {
        let mut members = Vec::new();
        for name in names {
            let value = self.text();
            self.maybe(&mut members, name, value);
        }
        self.object(members)
    }

    fn moneys(&mut self, members: &mut Members, names: &[&'static str]) {
        for name in names {
            let value = if self.spoiled() { self.rng.pick(&BAD_MONEY) } else { self.rng.pick(&MONEY) };
            self.maybe(members, name, value);
        }
    }

    fn count(&mut self) -> Node {
        if self.spoiled() { self.rng.pick(&BAD_COUNTS) } else { self.rng.pick(&COUNTS) }
    }

    fn time(&mut self) -> Node {
        if self.rng.one_in(3) { Node::Null } else { self.moment() }
    }

    fn moment(&mut self) -> Node {
        if self.spoiled() { self.rng.pick(&BAD_TIMES) } else { Node::Text(self.rng.pick(&TIMES)) }
    }
}
