//! The least that reading one row of an encrypted store can cost: what `integ token` is measured against.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(path), Some(key)) = (arguments.next(), arguments.next()) else { return ExitCode::FAILURE };
    let read = || -> rusqlite::Result<i64> {
        let connection = rusqlite::Connection::open(path)?;
        connection.pragma_update(None, "key", format!("x'{key}'"))?;
        connection.execute_batch("PRAGMA cipher_page_size = 8192; PRAGMA cipher_hmac_algorithm = HMAC_SHA256")?;
        connection.query_row("SELECT count(*) FROM grants WHERE connection_id = 1", [], |row| row.get(0))
    };
    match read() {
        Ok(1) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}
