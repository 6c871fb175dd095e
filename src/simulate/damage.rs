//! Spoils the text of a good event, in the ways that producers and disks do: what ends in quarantine.

use super::rng::Rng;

/// The old name of a field gets a wrong value or goes; `: ` and `:` both follow a name, so it works on any layout.
const FIELDS: [(&str, &str); 6] = [
    ("\"txt_detl_idt_pedi_pgto\":", "\"id_perdido\":"),
    ("\"dat_atui\":", "\"dat_atui\":\"ontem\",\"dat_velha\":"),
    ("\"qtd_item_pedi\":", "\"qtd_item_pedi\":\"dois\",\"qtd_velha\":"),
    ("\"vlr_prod\":", "\"vlr_prod\":1e400,\"vlr_velho\":"),
    ("\"cod_vrne_prod\":", "\"cod_velho\":"),
    ("\"objt_clie\":", "\"objt_clie\":\"Cliente\",\"objt_velho\":"),
];

/// A text that is no valid event. It has line breaks only if `good` has, so in NDJSON it spoils no neighbour.
pub fn spoil(good: &str, rng: &mut Rng) -> Vec<u8> {
    let fields = FIELDS.len() as u64;
    match rng.below(fields + 3) {
        n if n < fields => field(good, n as usize),
        n if n == fields => truncated(good, rng),
        n if n == fields + 1 => invalid_utf8(good),
        _ => nested(),
    }
}

/// Falls back to the order's id, which every event has, where the event has no such field (no lines left).
fn field(good: &str, n: usize) -> Vec<u8> {
    let all = FIELDS.iter().skip(n).chain(&FIELDS);
    let found = all.into_iter().find(|(name, _)| good.contains(name));
    found.map_or_else(|| b"{".to_vec(), |(name, by)| good.replacen(name, by, 1).into_bytes())
}

fn truncated(good: &str, rng: &mut Rng) -> Vec<u8> {
    let keep = 1 + rng.below(good.len().saturating_sub(2) as u64) as usize;
    good.as_bytes().iter().take(keep).copied().collect()
}

fn invalid_utf8(good: &str) -> Vec<u8> {
    let mut bytes = good.as_bytes().to_vec();
    let letter = bytes.iter().position(u8::is_ascii_uppercase);
    match letter.and_then(|i| bytes.get_mut(i)) {
        Some(byte) => *byte = 0xff,
        None => bytes = vec![0xff],
    }
    bytes
}

fn nested() -> Vec<u8> {
    [b"{\"a\":".as_slice(), &b"[".repeat(200), &b"]".repeat(200), b"}"].concat()
}
