//! Tables for people.

use comfy_table::{ContentArrangement, Table, presets::UTF8_FULL_CONDENSED};
use spinor_api::administration::{Applied, BindingView};

/// Prints rows under a header, as wide as the terminal.
pub fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) {
    println!("{}", render(header, rows));
}

/// Rows under a header.
pub fn render<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(header);
    for row in rows {
        table.add_row(row);
    }
    table
}

/// Prints JSON.
pub fn json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}

/// The time of day of an RFC 3339 time, or the day if it is not today's.
pub fn time(text: &str) -> String {
    text.get(..19).map_or_else(|| text.to_owned(), |text| text.replace('T', " "))
}

/// Prints what is in force now.
pub fn applied(as_json: bool, applied: &Applied) -> anyhow::Result<()> {
    if as_json {
        return json(applied);
    }
    println!("VO {} is at revision {}, in {:.0} ms", applied.vo, applied.revision, applied.took_ms);
    for banned in &applied.lifted {
        println!("No longer banned, since the document does not say `banned = true`: {banned}");
    }
    bindings(&applied.bindings);
    Ok(())
}

/// Prints bindings as a table.
pub fn bindings(bindings: &[BindingView]) {
    table(
        ["VO", "place", "plugin", "version", "digest", "has", "state"],
        bindings.iter().cloned().map(|b| {
            let has = b.capabilities.join(" ");
            [b.vo, b.path, b.plugin, b.version, short(&b.digest), has, b.state]
        }),
    );
}

/// The beginning of a digest: enough for people.
pub fn short(digest: &str) -> String {
    digest.chars().take(12).collect()
}
