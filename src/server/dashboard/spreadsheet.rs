//! CSV for spreadsheets, which run a field as a formula by its first character.

use hyper::body::Bytes;

/// What a field begins with that spreadsheets take for a formula (OWASP, "CSV Injection").
const FORMULA: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// Returns a CSV file with an apostrophe before each field that a spreadsheet would run. Numbers are as they were.
///
/// # Errors
/// Those of the reader: rows of different lengths.
pub(super) fn without_formulas(file: &[u8]) -> Result<Bytes, csv::Error> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(file);
    let mut writer = csv::Writer::from_writer(Vec::with_capacity(file.len()));
    for row in reader.records() {
        let row = row?;
        writer.write_record(
            row.iter().map(|field| if is_formula(field) { format!("'{field}") } else { field.to_owned() }),
        )?;
    }
    let bytes = writer.into_inner().map_err(|error| csv::Error::from(error.into_error()))?;
    Ok(bytes.into())
}

fn is_formula(field: &str) -> bool {
    field.starts_with(FORMULA) && field.parse::<f64>().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_are_text_and_numbers_are_numbers() {
        let file = "id,note\n-5,=1+1\n+1.5e3,\"@SUM(A1,\"\"B\"\")\"\n\"\tx\",a=b\n-x,'=1\n";
        let safe = without_formulas(file.as_bytes()).unwrap();
        let expected = "id,note\n-5,'=1+1\n+1.5e3,\"'@SUM(A1,\"\"B\"\")\"\n'\tx,a=b\n'-x,'=1\n";
        assert_eq!(String::from_utf8_lossy(&safe), expected);
        assert!(without_formulas(b"a,b\n1\n").is_err());
    }
}
