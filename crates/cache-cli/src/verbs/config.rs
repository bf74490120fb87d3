//! `config`: the settings in force.

use std::io::Write;

use serde_json::{Map, json};

use super::Context;
use crate::args::ConfigArgs;
use crate::config::{self, Origin};
use crate::failure::Result;
use crate::output::{self, Column};
use crate::settings::TABLE;

pub(super) fn run(context: &Context, args: &ConfigArgs) -> Result {
    let config = &context.config;
    let mut out = output::stdout();
    if args.json {
        let mut all = Map::new();
        for setting in TABLE {
            let origin = config.origin(setting.id);
            let kind = match &origin {
                Origin::Default => "default",
                Origin::File { .. } => "file",
                Origin::Env(_) => "environment",
                Origin::Flag(_) => "flag",
            };
            let value =
                json!({"value": config.show(setting), "origin": kind, "source": config.source(setting.id)});
            all.insert(setting.key.to_owned(), value);
        }
        output::json_line(&mut out, &all)?;
        return Ok(out.flush()?);
    }
    let mut columns = vec![Column::Left("setting"), Column::Left("value")];
    if args.show_origin {
        columns.push(Column::Left("from"));
    }
    let rows = TABLE.iter().map(|setting| {
        let mut row = vec![setting.key.to_owned(), output::visible(&config.show(setting))];
        if args.show_origin {
            row.push(output::visible(&config.source(setting.id)));
        }
        row
    });
    out.write_all(output::table(&columns, rows.collect(), context.color.stdout()).as_bytes())?;
    Ok(out.flush()?)
}

/// Prints the page of the manual.
pub(super) fn page() -> Result {
    let mut out = output::stdout();
    out.write_all(config::markdown().as_bytes())?;
    Ok(out.flush()?)
}
