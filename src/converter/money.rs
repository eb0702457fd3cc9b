//! Amounts of money: decimals, and integers of the smallest unit that ISO 4217 has for a currency.

use super::{quoted, shown};
use crate::json::{Json, JsonType};

/// Currencies with a minor unit other than a hundredth, with the digits behind the point (ISO 4217, list one).
const OTHER_DIGITS: &[(&str, u32)] = &[
    ("BHD", 3),
    ("BIF", 0),
    ("CLF", 4),
    ("CLP", 0),
    ("DJF", 0),
    ("GNF", 0),
    ("IQD", 3),
    ("ISK", 0),
    ("JOD", 3),
    ("JPY", 0),
    ("KMF", 0),
    ("KRW", 0),
    ("KWD", 3),
    ("LYD", 3),
    ("OMR", 3),
    ("PYG", 0),
    ("RWF", 0),
    ("TND", 3),
    ("UGX", 0),
    ("UYI", 0),
    ("UYW", 4),
    ("VND", 0),
    ("VUV", 0),
    ("XAF", 0),
    ("XOF", 0),
    ("XPF", 0),
];

/// The most digits of an amount: more than any, and few enough to calculate with.
const MAX_DIGITS: usize = 40;

/// A currency, by the digits that its amounts have behind the point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Currency {
    code: String,
    digits: u32,
}

impl Currency {
    /// The currency of a code of three letters, in any case.
    pub(super) fn named(code: &str) -> Result<Self, String> {
        let code = code.to_ascii_uppercase();
        if code.len() != 3 || !code.bytes().all(|byte| byte.is_ascii_uppercase()) {
            return Err(format!("{code:?} is not a currency's code"));
        }
        let other = OTHER_DIGITS.iter().find(|(known, _)| *known == code);
        Ok(Self { digits: other.map_or(2, |(_, digits)| *digits), code })
    }

    /// An amount in minor units. What is smaller than one is an error, never rounded.
    pub(super) fn minor_units(&self, amount: Json<'_>) -> Result<String, String> {
        let wrong = || format!("{} is not an amount", shown(amount));
        let text = match amount.kind() {
            JsonType::Number => amount.as_str().to_owned(),
            JsonType::String => amount.string().unwrap_or_default().into_owned(),
            _ => return Err(wrong()),
        };
        let (negative, digits, exponent) = decimal(&text).ok_or_else(wrong)?;
        let exponent = exponent + i64::from(self.digits);
        let finer = || format!("{} is finer than {} has minor units", shown(amount), self.code);
        let zeros = digits.len() - digits.trim_end_matches('0').len();
        let units = if digits.bytes().all(|digit| digit == b'0') {
            0
        } else if exponent < 0 {
            let cut = usize::try_from(-exponent).ok().filter(|cut| *cut <= zeros).ok_or_else(finer)?;
            digits[..digits.len() - cut].parse::<i64>().map_err(|_| wrong())?
        } else {
            let zeros = usize::try_from(exponent).ok().filter(|zeros| *zeros <= MAX_DIGITS).ok_or_else(wrong)?;
            format!("{digits}{}", "0".repeat(zeros)).parse::<i64>().map_err(|_| wrong())?
        };
        Ok(if negative { -units } else { units }.to_string())
    }

    /// Minor units as a decimal text.
    pub(super) fn major_units(&self, amount: Json<'_>) -> Result<String, String> {
        let wrong = || format!("{} is not a number of minor units", shown(amount));
        let units: i64 = match amount.kind() {
            JsonType::Number => amount.as_str().parse().map_err(|_| wrong())?,
            JsonType::String => amount.string().unwrap_or_default().parse().map_err(|_| wrong())?,
            _ => return Err(wrong()),
        };
        let sign = if units < 0 { "-" } else { "" };
        let digits = self.digits as usize;
        let all = format!("{:0>width$}", units.unsigned_abs(), width = digits + 1);
        let (whole, part) = all.split_at(all.len() - digits);
        let point = if digits == 0 { "" } else { "." };
        Ok(quoted(&format!("{sign}{whole}{point}{part}")))
    }
}

/// A decimal as its sign, its digits, and the power of ten that they are to be multiplied by.
fn decimal(text: &str) -> Option<(bool, String, i64)> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => {
            (mantissa, exponent.parse::<i64>().ok().filter(|exponent| exponent.abs() < 1_000)?)
        }
        None => (text, 0),
    };
    let (negative, unsigned) = match mantissa.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, mantissa),
    };
    let (whole, part) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let digits = format!("{whole}{part}");
    let is_number = !whole.is_empty() && digits.len() <= MAX_DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| (negative, digits, exponent - part.len() as i64))
}
