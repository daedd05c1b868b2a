//! Masks of processors, as the kernel writes them: hexadecimal, 32 bits at a time with commas between.

use crate::attr::Error;

/// Most processors of a mask.
const LIMIT: usize = 4096;

/// Processors of this machine that the process may use.
fn count() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Words of 32 bits, the lowest first, with a bit for every processor.
fn all() -> Vec<u32> {
    let count = count();
    let word = |at: usize| match count - 32 * at {
        32.. => u32::MAX,
        bits => (1 << bits) - 1,
    };
    (0..count.div_ceil(32)).map(word).collect()
}

/// The mask that a text means; `None` for all processors, which is also what a mask of more means.
pub fn parse(text: &str) -> Result<Option<Vec<u32>>, Error> {
    let wrong = || Error::invalid(format!("\"{text}\" is no hexadecimal mask of processors"));
    let digits = text.trim().trim_start_matches("0x");
    let words: Option<Vec<u32>> = digits
        .rsplit(',')
        .map(|word| {
            let is_hex = (1..=8).contains(&word.len()) && word.bytes().all(|digit| digit.is_ascii_hexdigit());
            is_hex.then(|| u32::from_str_radix(word, 16).ok()).flatten()
        })
        .collect();
    let words = words.filter(|words| words.len() <= LIMIT / 32).ok_or_else(wrong)?;
    let all = all();
    let usable: Vec<u32> =
        all.iter().enumerate().map(|(at, word)| words.get(at).map_or(0, |own| own & word)).collect();
    if usable.iter().all(|word| *word == 0) {
        return Err(Error::invalid(format!("\"{text}\" names no processor of this machine")));
    }
    Ok(Some(usable).filter(|usable| *usable != all))
}

/// A mask as text; `None` stands for all processors.
pub fn format(mask: Option<&[u32]>) -> String {
    let all = all();
    let words = mask.unwrap_or(&all);
    let digits = |at: usize| match count() - 32 * at {
        32.. => 8,
        bits => bits.div_ceil(4),
    };
    let words: Vec<String> = words
        .iter()
        .enumerate()
        .rev()
        .map(|(at, word)| format!("{word:0width$x}", width = digits(at)))
        .collect();
    words.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_hexadecimal_and_name_a_processor() {
        assert_eq!(parse("ffffffff,ffffffff"), Ok(None));
        for text in ["", "0", "g", "123456789", ",", "-1"] {
            assert_eq!(parse(text).unwrap_err().errno, libc::EINVAL, "{text}");
        }
        if count() > 1 {
            let one = parse("00000001\n").unwrap();
            assert_eq!(parse(&format(one.as_deref())), Ok(one));
        }
        assert_eq!(parse(&format(None)), Ok(None));
    }
}
