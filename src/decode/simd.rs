//! The two searches that decoding spends its time in, sixteen bytes at a time.

/// Index of the first byte from `at` on that is not JSON white space, or the text's length.
#[inline(always)]
pub fn blank_end(text: &[u8], at: usize) -> usize {
    // Compact text has no white space at all here, and `: ` has one.
    match text.get(at) {
        Some(b) if *b > b' ' => return at,
        _ => {}
    }
    match text.get(at + 1) {
        Some(b) if *b > b' ' && is_blank(text.get(at)) => at + 1,
        _ => long_blank_end(text, at),
    }
}

/// Index of the first byte from `at` on that a string cannot simply run over: a quote, a backslash or a control
/// character; or the text's length.
#[inline(always)]
pub fn plain_end(text: &[u8], mut at: usize) -> usize {
    while let Some(block) = block(text, at) {
        let mask = wide::interrupts(block);
        if mask != 0 {
            return at + mask.trailing_zeros() as usize;
        }
        at += 16;
    }
    byte_by_byte(text, at, |b| b == b'"' || b == b'\\' || b < b' ')
}

fn long_blank_end(text: &[u8], mut at: usize) -> usize {
    while let Some(block) = block(text, at) {
        let mask = wide::not_blank(block);
        if mask != 0 {
            return at + mask.trailing_zeros() as usize;
        }
        at += 16;
    }
    byte_by_byte(text, at, |b| !is_blank(Some(&b)))
}

#[inline(always)]
fn is_blank(b: Option<&u8>) -> bool {
    matches!(b, Some(b' ' | b'\n' | b'\r' | b'\t'))
}

#[inline(always)]
fn block(text: &[u8], at: usize) -> Option<&[u8; 16]> {
    text.get(at..)?.first_chunk()
}

#[cold]
fn byte_by_byte(text: &[u8], at: usize, stops: impl Fn(u8) -> bool) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    at + rest.iter().position(|b| stops(*b)).unwrap_or(rest.len())
}

#[cfg(target_arch = "x86_64")]
mod wide {
    use std::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128,
        _mm_set1_epi8,
    };

    /// Bit i: byte i is a quote, a backslash or a control character.
    #[inline(always)]
    pub fn interrupts(block: &[u8; 16]) -> u32 {
        // SAFETY: every x86_64 has SSE2; the load asks for no alignment and reads the sixteen bytes borrowed.
        unsafe {
            let v = _mm_loadu_si128(block.as_ptr().cast::<__m128i>());
            let quote = _mm_cmpeq_epi8(v, _mm_set1_epi8(b'"' as i8));
            let backslash = _mm_cmpeq_epi8(v, _mm_set1_epi8(b'\\' as i8));
            let control = _mm_cmpeq_epi8(_mm_min_epu8(v, _mm_set1_epi8(0x1F)), v);
            _mm_movemask_epi8(_mm_or_si128(_mm_or_si128(quote, backslash), control)) as u32
        }
    }

    /// Bit i: byte i is no JSON white space.
    #[inline(always)]
    pub fn not_blank(block: &[u8; 16]) -> u32 {
        // SAFETY: as above.
        unsafe {
            let v = _mm_loadu_si128(block.as_ptr().cast::<__m128i>());
            let is = |b: u8| _mm_cmpeq_epi8(v, _mm_set1_epi8(b as i8));
            let blank = _mm_or_si128(_mm_or_si128(is(b' '), is(b'\n')), _mm_or_si128(is(b'\r'), is(b'\t')));
            !(_mm_movemask_epi8(blank) as u32) & 0xFFFF
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod wide {
    #[inline(always)]
    pub fn interrupts(block: &[u8; 16]) -> u32 {
        mask(block, |b| b == b'"' || b == b'\\' || b < b' ')
    }

    #[inline(always)]
    pub fn not_blank(block: &[u8; 16]) -> u32 {
        mask(block, |b| !matches!(b, b' ' | b'\n' | b'\r' | b'\t'))
    }

    #[inline(always)]
    fn mask(block: &[u8; 16], is: impl Fn(u8) -> bool) -> u32 {
        block.iter().enumerate().fold(0, |m, (i, b)| m | u32::from(is(*b)) << i)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_every_byte_at_every_place() {
        for b in 0..=255u8 {
            for at in 0..40 {
                let mut plain = vec![b'x'; 40];
                plain[at] = b;
                let stops = b == b'"' || b == b'\\' || b < 0x20;
                assert_eq!(plain_end(&plain, 0), if stops { at } else { 40 }, "{b} at {at}");
                let mut blank: Vec<u8> = b" \n\t\r".iter().copied().cycle().take(40).collect();
                blank[at] = b;
                let stops = !b" \n\t\r".contains(&b);
                assert_eq!(blank_end(&blank, 0), if stops { at } else { 40 }, "{b} at {at}");
            }
        }
        assert_eq!(blank_end(b"", 0), 0);
        assert_eq!(blank_end(b" ", 0), 1);
        assert_eq!(plain_end(b"ab", 5), 5);
    }
}
