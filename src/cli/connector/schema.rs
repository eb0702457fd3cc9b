//! `integ connector schema`.

use super::super::ui::Ui;
use crate::connector::json_schema;
use crate::error::Result;

pub(super) fn run(ui: &Ui) -> Result<u8> {
    ui.show_document(&json_schema().to_string())?;
    Ok(0)
}
