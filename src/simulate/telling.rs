//! Writes an order at one moment of its life as the event that the producer would send.

use super::catalog::{Catalog, Item};
use super::json::Json;
use super::life::{Life, Line, Moment, Parcel, Progress, Stage};
use super::rng::Rng;
use super::stamp::stamp;

/// The status in words, its substatus code and its name.
type Status = (&'static str, &'static str, &'static str);

const CANCELLED: Status = ("CANCELLED", "700", "Cancelled");

struct Telling<'a> {
    catalog: &'a Catalog,
    life: &'a Life,
    now: &'a Moment,
    items: Vec<Item>,
    /// For fields that are often absent.
    rng: Rng,
}

/// The event's text.
pub fn tell(catalog: &Catalog, life: &Life, now: &Moment, pretty: bool) -> String {
    let mut rng = Rng::of(&[catalog.seed, 200, life.order]);
    let ascii = rng.chance(0.05);
    let items = life.lines.iter().map(|l| catalog.item(l.item, now.ms)).collect();
    // By the time: what is said again under a higher version differs in nothing but the version.
    let spelling = Rng::of(&[catalog.seed, 201, life.order, now.ms as u64]);
    let mut j = Json::new(pretty, ascii, spelling);
    let mut telling = Telling { catalog, life, now, items, rng };
    j.object(|j| telling.order(j));
    j.finish()
}

impl Telling<'_> {
    fn order(&mut self, j: &mut Json) {
        if let Some(version) = self.now.version {
            j.text("num_ulti_vers_sist", &version.to_string());
        }
        j.text("txt_detl_idt_pedi_pgto", &order_id(self.life.order));
        j.text("cod_idef_clie", "customer-store");
        j.text("dat_hor_tran", &stamp(self.life.created_ms));
        self.catalog.customer(j, self.life.customer, self.now.ms);
        self.catalog.address(j, self.life.customer, self.now.ms);
        j.array_in("list_desc_item_pedi", |_| {});
        j.array_in("list_item_pedi", |j| self.lines(j));
        let paid = self.now.stage >= Stage::Paid;
        j.text("stat_pgto", if paid { "PAID" } else { "PRE-ORDER" });
        j.array_in("list_envo", |j| self.parcels(j));
        j.text("stat_pedi", self.status());
        if self.now.cancelled {
            j.object_in("objt_sub_stat_pedi", |j| {
                j.text("cod_sub_stat_pedi", "701");
                j.text("nom_sub_stat_pedi", "Cancelled by the customer");
            });
        }
        j.text("idt_loja", &format!("STORE{:05}", self.life.store));
        self.summary(j);
        j.text("dat_atui", &stamp(self.now.ms));
        j.text("cod_aces_tokn", &token(self.catalog.seed, self.life.order));
        if let Some(promotion) = self.life.promotion {
            let applied = self.discount();
            j.array_in("list_prmo", |j| self.catalog.promotion(j, promotion, self.now.ms, applied));
        }
    }

    fn status(&self) -> &'static str {
        match self.now.stage {
            _ if self.now.cancelled => CANCELLED.0,
            Stage::PreOrder => "PRE-ORDER",
            Stage::InProcessing => "IN-PROCESSING",
            Stage::Paid => "PAID",
            Stage::PartBilled => "PARTIALLY-BILLED",
            Stage::Billed => "BILLED",
            Stage::PartSent => "PARTIALLY-SENT",
            Stage::Sent => "SENT",
            Stage::PartDelivered => "PARTIALLY-DELIVERED",
            Stage::Delivered => "DELIVERED",
        }
    }

    fn lines(&mut self, j: &mut Json) {
        for i in 0..self.life.lines.len() {
            let (Some(line), Some(item)) = (self.life.lines.get(i), self.items.get(i).cloned()) else {
                continue;
            };
            if self.life.keeps(i, self.now) {
                j.object(|j| self.line(j, line, &item));
            }
        }
    }

    fn line(&mut self, j: &mut Json, line: &Line, item: &Item) {
        let slug = format!("produto-{}", item.id);
        let seller = Catalog::seller_id(item.seller);
        j.text("des_moda_entg_item", "Entrega padrão");
        j.count("qtd_dia_prz_entg", line.days);
        j.money("vlr_totl_fret", line.freight - line.freight_discount);
        if self.rng.chance(0.8) {
            j.text("nom_oped_empr", if line.days < 5 { "Expressa Já" } else { "" });
        }
        j.text("nom_item", &item.name);
        j.text("cod_ofrt_ineo_requ", &format!("of{}", item.id));
        j.money("vlr_oril", item.list_price);
        j.money("vlr_prod", item.price);
        j.money("vlr_prod_ofrt_desc", item.list_price - item.price);
        j.text("nom_prod_orig", &item.name);
        j.text("txt_plae_otmz_url_prod", &slug);
        j.count("qtd_item_pedi", line.quantity);
        j.text("idt_venr", &seller);
        j.text("nom_venr", &self.catalog.seller_name(item.seller, self.now.ms));
        j.text("idt_vrne_venr", &format!("{}_{seller}", item.number));
        j.money("vlr_fret", line.freight);
        j.money("vlr_desc_envo", line.freight_discount);
        j.text("cod_vrne_prod", &item.id);
        j.text("txt_plae_otmz_url_item", &slug);
        let image = item.id.repeat(5);
        j.text("nom_url_img_oril", &format!("https://static.example.com/storage/png/{image}.png"));
        j.money("vlr_oril_prod_unit_vrne", item.list_price);
        j.money("vlr_prec_unit_brut", item.price);
        self.seldom(j, line, item);
    }

    /// What a line has only sometimes, and where its goods lie.
    fn seldom(&mut self, j: &mut Json, line: &Line, item: &Item) {
        if self.rng.chance(0.3) {
            let due = self.life.created_ms + line.days as i64 * 86_400_000;
            j.text("dat_hor_esda_entg_item", &stamp(due));
        }
        if self.life.promotion.is_some() && self.rng.chance(0.5) {
            j.money("vlr_desc_finn_unit_item", item.price / 20);
            j.money("vlr_fina_esto_item", item.price - item.price / 20);
        }
        let second = self.rng.chance(0.1);
        j.array_in("list_cod_loja_vend", |j| {
            j.object(|j| {
                j.text("cod_loja_vend", &self.catalog.warehouse(item.number, self.now.ms));
                j.count("qtd_loja_item", line.quantity);
            });
            if second {
                j.object(|j| {
                    j.text("cod_loja_vend", "CD-reserva");
                    j.count("qtd_loja_item", 0);
                });
            }
        });
    }

    fn parcels(&mut self, j: &mut Json) {
        for (number, parcel) in self.life.parcels.iter().enumerate() {
            let kept = |(i, _): &&(usize, u64)| self.life.keeps(*i, self.now);
            let contents: Vec<(usize, u64)> = parcel.contents.iter().filter(kept).copied().collect();
            let progress = self.life.progress(parcel, self.now.stage);
            if let Some(progress) = progress.filter(|_| !contents.is_empty()) {
                j.object(|j| self.parcel(j, number, parcel, &contents, progress));
            }
        }
    }

    fn parcel(
        &mut self,
        j: &mut Json,
        number: usize,
        parcel: &Parcel,
        contents: &[(usize, u64)],
        progress: Progress,
    ) {
        let status = if self.now.cancelled { CANCELLED } else { parcel_status(progress) };
        let (order, seller) = (self.life.order, Catalog::seller_id(parcel.seller));
        let since = stamp(self.life.reached_ms(parcel, progress));
        j.text("cod_tipo_entg", &format!("SH{order:010x}{number:02}{:04x}", parcel.seller & 0xffff));
        self.bill(j, parcel);
        j.array_in("list_item_envo", |j| {
            for (line, quantity) in contents {
                let Some(item) = self.items.get(*line) else { continue };
                j.object(|j| {
                    j.count("qtd_prod", *quantity);
                    j.text("cod_prod_venr", &format!("{}_{seller}", item.number));
                    j.text("cod_prod", &item.id);
                    j.text("stat_entg", status.0);
                    j.text("dat_hor_cria_item_entg", &stamp(self.life.created_ms));
                    j.text("dat_hor_atui_item_entg", &since);
                    substatus(j, "item", "item", status);
                });
            }
        });
        j.text("cod_venr", &seller);
        j.text("nom_stat_entg", status.0);
        substatus(j, "envo", "entg", status);
        self.tracking(j, parcel, progress);
    }

    fn bill(&mut self, j: &mut Json, parcel: &Parcel) {
        let (xml, long) = (self.rng.chance(0.7), self.rng.chance(0.2));
        j.object_in("objt_carg_fatm", |j| {
            j.text("dat_emis_nail", &stamp(self.life.reached_ms(parcel, Progress::Billed)));
            j.text("cod_nota_fisc", &(3_000_000 + self.life.order).to_string());
            j.text("cod_srie", "1");
            if xml {
                let body = "PD94bWwgdmVyc2lvbj0iMS4wIj8+PG5mZS8+".repeat(if long { 12 } else { 1 });
                j.text("txt_xml_oper", &format!("data:text/xml;base64;charset=utf-8,{body}"));
            }
        });
    }

    fn tracking(&mut self, j: &mut Json, parcel: &Parcel, progress: Progress) {
        if progress >= Progress::Sent {
            j.object_in("objt_des_stat_rtmt", |j| {
                j.text("nom_trtd", "Padrão");
                j.text("des_moda_entg", "Padrão");
                j.text("prco_rtmt", &self.life.order.to_string());
                j.text("dat_envo_rtmt", &stamp(self.life.reached_ms(parcel, Progress::Sent)));
            });
        }
        if progress == Progress::Delivered {
            j.text("dat_emis_cpvt", &stamp(self.life.reached_ms(parcel, progress)));
        }
    }

    /// Lines of the order as it stands, with their goods.
    fn kept(&self) -> impl Iterator<Item = (&Line, &Item)> {
        let all = self.life.lines.iter().zip(&self.items).enumerate();
        all.filter(|(i, _)| self.life.keeps(*i, self.now)).map(|(_, pair)| pair)
    }

    fn discount(&self) -> i64 {
        let total: i64 = self.kept().map(|(l, i)| i.price * l.quantity as i64).sum();
        if self.life.promotion.is_some() { total.min(2000) } else { 0 }
    }

    fn summary(&mut self, j: &mut Json) {
        let total: i64 = self.kept().map(|(l, i)| i.list_price * l.quantity as i64).sum();
        let price: i64 = self.kept().map(|(l, i)| i.price * l.quantity as i64).sum();
        let freight: i64 = self.kept().map(|(l, _)| l.freight).sum();
        let freight_off: i64 = self.kept().map(|(l, _)| l.freight_discount).sum();
        let days = self.kept().map(|(l, _)| l.days).max().unwrap_or(0);
        let count = self.kept().count() as u64;
        let (discount, with_final) = (self.discount(), self.rng.chance(0.4));
        j.object_in("objt_des_rsum", |j| {
            j.float("num_item", count);
            j.float("qtd_maxi_temp_envo", days);
            j.money("vlr_desc_conc_pedi", discount);
            j.money("vlr_totl_pedi", total);
            j.money("vlr_totl_desc", total - price);
            j.money("vlr_cust_totl_envo", freight);
            j.money("vlr_desc_totl_envo", freight_off);
            if with_final {
                j.money("vlr_fina_pedi", price - discount + freight - freight_off);
            }
        });
    }
}

pub fn order_id(order: u64) -> String {
    format!("ORD{order:013}")
}

fn parcel_status(progress: Progress) -> Status {
    match progress {
        Progress::Billed => ("BILLED", "300", "Billed"),
        Progress::Sent => ("SENT", "400", "Sent"),
        Progress::Delivered => ("DELIVERED", "500", "Delivered"),
    }
}

fn substatus(j: &mut Json, of: &str, short: &str, status: Status) {
    j.object_in(&format!("objt_sub_stat_{of}"), |j| {
        j.text(&format!("cod_sub_stat_{short}"), status.1);
        j.text(&format!("nom_sub_stat_{short}"), status.2);
    });
}

/// Looks like a secret and is none.
fn token(seed: u64, order: u64) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut rng = Rng::of(&[seed, 300, order]);
    let mut token = String::with_capacity(128);
    token.push_str("synthetic.");
    for _ in 0..11 {
        let bits = rng.draw();
        (0..10).for_each(|i| token.push(char::from(LETTERS[(bits >> (6 * i)) as usize & 63])));
    }
    token
}
