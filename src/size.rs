//! Sizes as people write them: `64MiB`, `500kB`, `1G`; a bare number is bytes.

/// Reads a size in bytes; absent where the text is not one. `K`, `M` and `G` alone mean the binary units, as in `dd`.
pub fn parse(text: &str) -> Option<usize> {
    let text = text.trim();
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: usize = text[..unit_at].parse().ok()?;
    let unit = match text[unit_at..].trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        _ => return None,
    };
    number.checked_mul(unit)
}

/// Writes a size so that [`parse`] reads it back, in the largest binary unit that fits.
pub fn format(bytes: usize) -> String {
    for (unit, size) in [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if bytes >= size && bytes.is_multiple_of(size) {
            return format!("{}{unit}", bytes / size);
        }
    }
    bytes.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write_and_what_it_wrote() {
        for (text, bytes) in [("64MiB", 64 << 20), ("1 g", 1 << 30), ("500kB", 500_000), ("7", 7), ("0", 0)] {
            assert_eq!(parse(text), Some(bytes), "{text}");
            assert_eq!(parse(&format(bytes)), Some(bytes));
        }
        assert_eq!(format(64 << 20), "64MiB");
        for text in ["", "MiB", "-1", "1.5G", "9e9", "99999999999999999999", "999999999999999G"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
