//! Who and what the shop deals with: customers, sellers, items, warehouses, promotions. Each is a function of the
//! seed, its number and the time, so nothing is stored and orders share them; their attributes drift as time goes by.

use super::json::Json;
use super::rng::Rng;

const DAY_MS: i64 = 86_400_000;

/// City, state, and again as a producer with a broken encoding writes it.
const CITIES: [(&str, &str, &str); 10] = [
    ("São Paulo", "SP", "SÃ£o Paulo"),
    ("Araguaína", "TO", "AraguaÃ\u{ad}na"),
    ("Maceió", "AL", "MaceiÃ³"),
    ("Belém", "PA", "BelÃ©m"),
    ("Rio de Janeiro", "RJ", "Rio de Janeiro"),
    ("Florianópolis", "SC", "FlorianÃ³polis"),
    ("Goiânia", "GO", "GoiÃ¢nia"),
    ("Curitiba", "PR", "Curitiba"),
    ("Brasília", "DF", "BrasÃ\u{ad}lia"),
    ("Vitória", "ES", "VitÃ³ria"),
];

const GOODS: [&str; 8] = [
    "açúcar",
    "café torrado",
    "cabo 1/4\" \\ adaptador",
    "caneca 😀",
    "livro \"Ação\"",
    "pão de queijo",
    "chave 10\tmm",
    "日本茶",
];

const TRADES: [&str; 4] = ["Comércio", "Comércio & Cia", "Distribuição", "Importação"];

/// How many of each there are.
#[derive(Debug, Clone, Copy)]
pub struct Catalog {
    pub seed: u64,
    pub customers: u64,
    pub sellers: u64,
    pub items: u64,
    pub warehouses: u64,
    pub promotions: u64,
}

/// A line's goods as they stood at one moment.
#[derive(Debug, Clone)]
pub struct Item {
    pub id: String,
    pub number: u64,
    pub name: String,
    pub seller: u64,
    /// Cents.
    pub price: i64,
    pub list_price: i64,
}

impl Catalog {
    /// The number of times that attributes with this name have changed by `ms`: about every `days` days.
    fn era(&self, what: u64, number: u64, ms: i64, days: i64) -> u64 {
        let phase = Rng::of(&[self.seed, what, number]).below((days * DAY_MS) as u64) as i64;
        (ms + phase).div_euclid(days * DAY_MS).unsigned_abs()
    }

    pub fn item(&self, number: u64, ms: i64) -> Item {
        let mut fixed = Rng::of(&[self.seed, 1, number]);
        let (seller, base, good) = (fixed.below(self.sellers), fixed.skewed(90_000), fixed.pick(&GOODS));
        let mut now = Rng::of(&[self.seed, 2, number, self.era(2, number, ms, 20)]);
        let list_price = 199 + base as i64 + now.below(1 + base / 8) as i64;
        let off = if now.chance(0.25) { list_price / 10 } else { 0 };
        let edition = if now.chance(0.2) { " (nova embalagem)" } else { "" };
        Item {
            id: format!("MKU-{number:09x}"),
            number,
            name: format!("Produto \"{number}\" {good}{edition}"),
            seller,
            price: list_price - off,
            list_price,
        }
    }

    pub fn seller_id(number: u64) -> String {
        format!("S{number:06x}")
    }

    pub fn seller_name(&self, number: u64, ms: i64) -> String {
        let trade = Rng::of(&[self.seed, 3, number, self.era(3, number, ms, 60)]).pick(&TRADES);
        format!("Seller {number} {trade}")
    }

    /// Most goods lie in one place; `default` is the usual one.
    pub fn warehouse(&self, item: u64, ms: i64) -> String {
        let mut rng = Rng::of(&[self.seed, 4, item, self.era(4, item, ms, 45)]);
        match rng.skewed(self.warehouses) {
            0 => "default".to_owned(),
            n => format!("CD{n:03}"),
        }
    }

    /// `objt_clie`.
    pub fn customer(&self, j: &mut Json, number: u64, ms: i64) {
        let era = self.era(5, number, ms, 90);
        let mail = Rng::of(&[self.seed, 5, number, era]).below(3);
        j.object_in("objt_clie", |j| {
            j.text("nom_tipo_docm", &format!("{number:011}"));
            j.text(
                "nom_ende_emai_clie",
                &match mail {
                    0 => format!("user{number}@example.com"),
                    n => format!("user{number}.{n}@example.com"),
                },
            );
            j.text("nom_clie", &self.person(number));
            j.object_in("objt_tel_clie", |j| {
                j.text("cod_tel_clie", "n/a");
                j.text("cod_area_tel", "11");
                j.text("cod_pais_tel", "55");
                j.text("num_tel_clie", &format!("9{number:08}"));
            });
            j.text("cod_rfrc_clie", &format!("{number:08x}-0000-4000-8000-{number:012x}"));
            j.text("cod_tipo_pess", if number % 17 == 3 { "company" } else { "individual" });
        });
    }

    /// `objt_ende_entg_pedi`: a customer moves now and then, and some have no complement.
    pub fn address(&self, j: &mut Json, customer: u64, ms: i64) {
        let mut rng = Rng::of(&[self.seed, 6, customer, self.era(6, customer, ms, 120)]);
        let (city, state, broken) = rng.pick(&CITIES);
        let (house, mojibake, complement) = (1 + rng.below(2000), rng.chance(0.1), rng.below(6));
        j.object_in("objt_ende_entg_pedi", |j| {
            j.text("nom_cida_ende_entg", if mojibake { broken } else { city });
            match complement {
                0 => {}
                1 => j.text("nom_cmpl_ende_entg", "apto 3 🏠"),
                n => j.text("nom_cmpl_ende_entg", &n.to_string()),
            }
            j.text("cod_pais_resd", "BR");
            j.text("nom_bair_ende_entg", &format!("Bairro {}", house % 97));
            j.text("num_logr_ende_entg", &house.to_string());
            j.text("nom_pess", &self.person(customer));
            j.text("sig_uf", state);
            j.text("nom_estd", state);
            j.text("nom_logr_ende_entg", &format!("Rua {}", house % 331));
            j.text("cod_cep", &format!("{:05}-{:03}", customer % 100_000, house % 1000));
        });
    }

    fn person(&self, number: u64) -> String {
        let broken = Rng::of(&[self.seed, 7, number]).chance(0.05);
        format!("Cliente {number} {}", if broken { "ConceiÃ§Ã£o" } else { "Conceição" })
    }

    /// One element of `list_prmo`; what was applied belongs to the order, the rest to the promotion.
    pub fn promotion(&self, j: &mut Json, number: u64, ms: i64, applied: i64) {
        let value = 500 * (1 + Rng::of(&[self.seed, 8, number, self.era(8, number, ms, 30)]).below(8) as i64);
        j.object(|j| {
            j.text("nom_apli_prmo", "cart");
            j.text("cod_prmo", &format!("promo{number}"));
            j.text("nom_prmo", &format!("Cupom {number}"));
            j.text("nom_tipo_desc", if number.is_multiple_of(3) { "percent" } else { "fixed" });
            j.money("vlr_cnfg_desc", value);
            if number % 4 != 1 {
                j.object_in("objt_cupo", |j| {
                    j.text("cod_idef_cupo", &format!("cup{number}"));
                    j.text("nom_tipo_cupo", "default");
                    j.text("cod_cupo", &format!("C{number}"));
                });
            }
            j.money("vlr_aplc_desc", applied);
        });
    }
}
