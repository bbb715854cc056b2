use crate::error::{TooLong, WireError};
use crate::text::Text;
use crate::wire::{Put, Reader, fit};

/// Where a column of a result comes from (2.2.7.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColInfo {
    /// Its number in the result.
    pub column: u8,
    /// Number of its table in TABNAME; zero: it is an expression.
    pub table: u8,
    /// Bits: 0x04 expression, 0x08 key, 0x10 hidden. 0x20 (another name) is set
    /// by writing as `name` needs it.
    pub status: u8,
    /// Its name in the table, if that is another.
    pub name: Option<Text>,
}

const DIFFERENT_NAME: u8 = 0x20;

pub(super) fn parse_order(r: &mut Reader<'_>) -> Result<Vec<u16>, WireError> {
    let mut columns = Vec::new();
    while r.left() > 0 {
        columns.push(r.u16("ORDER.ColNum")?);
    }
    Ok(columns)
}

pub(super) fn parse_col_info(r: &mut Reader<'_>) -> Result<Vec<ColInfo>, WireError> {
    let mut columns = Vec::new();
    while r.left() > 0 {
        let (column, table, status) = (r.u8("COLINFO.ColNum")?, r.u8("COLINFO.TableNum")?, r.u8("COLINFO.Status")?);
        let name = if status & DIFFERENT_NAME == 0 { None } else { Some(r.b_varchar("COLINFO.ColName")?) };
        columns.push(ColInfo { column, table, status, name });
    }
    Ok(columns)
}

pub(super) fn write_col_info(columns: &[ColInfo], out: &mut Vec<u8>) -> Result<(), TooLong> {
    for ColInfo { column, table, status, name } in columns {
        let different = if name.is_some() { DIFFERENT_NAME } else { 0 };
        out.bytes(&[*column, *table, status & !DIFFERENT_NAME | different]);
        if let Some(name) = name {
            out.b_varchar(name, "COLINFO.ColName")?;
        }
    }
    Ok(())
}

pub(super) fn parse_tab_name(r: &mut Reader<'_>) -> Result<Vec<Vec<Text>>, WireError> {
    let mut tables = Vec::new();
    while r.left() > 0 {
        tables.push(parse_name(r)?);
    }
    Ok(tables)
}

pub(super) fn write_tab_name(tables: &[Vec<Text>], out: &mut Vec<u8>) -> Result<(), TooLong> {
    tables.iter().try_for_each(|table| write_name(table, out))
}

/// A table's name by its parts; also in COLMETADATA.
pub(super) fn parse_name(r: &mut Reader<'_>) -> Result<Vec<Text>, WireError> {
    let parts = r.u8("TableName.NumParts")?;
    (0..parts).map(|_| r.us_varchar("TableName.PartName")).collect()
}

pub(super) fn write_name(parts: &[Text], out: &mut Vec<u8>) -> Result<(), TooLong> {
    out.u8(fit(parts.len(), "TableName.NumParts")?);
    parts.iter().try_for_each(|part| out.us_varchar(part, "TableName.PartName"))
}
