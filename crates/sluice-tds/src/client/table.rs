use crate::error::{TooLong, WireError};
use crate::text::Text;
use crate::types::{Layout, Place, TypeInfo};
use crate::wire::{Put, Reader, fit};

/// Type of a table-valued parameter (2.2.5.5.5).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableType {
    /// Its database; always empty.
    pub database: Text,
    /// Its schema.
    pub schema: Text,
    /// Its name.
    pub name: Text,
    /// Its columns; `None`: there is no table.
    pub columns: Option<Vec<TableColumn>>,
    /// How the rows are ordered and what is unique: column, bits (1 ascending,
    /// 2 descending, 4 unique).
    pub order: Option<Vec<(u16, u8)>>,
    /// Columns of the type that the columns here are, in their order.
    pub ordering: Option<Vec<u16>>,
}

/// A column of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableColumn {
    /// Number of an alias type.
    pub user_type: u32,
    /// As of columns of results; and [`Self::DEFAULT`].
    pub flags: u16,
    /// Its type.
    pub info: TypeInfo,
    /// Its name; always empty.
    pub name: Text,
}

impl TableColumn {
    /// All its values are the default, and none of them is sent.
    pub const DEFAULT: u16 = 0x0200;
}

pub(super) const TABLE: u8 = 0xF3;
pub(super) const ROW: u8 = 0x01;
pub(super) const END: u8 = 0x00;
const ORDER: u8 = 0x10;
const ORDERING: u8 = 0x11;
const NO_METADATA: u16 = 0xFFFF;

impl TableType {
    /// Layouts of the values that a row has.
    pub(super) fn layouts(&self) -> Vec<Layout> {
        let columns = self.columns.iter().flatten();
        let sent = columns.filter(|column| column.flags & TableColumn::DEFAULT == 0);
        sent.map(|column| Layout::of(&column.info, false)).collect()
    }

    /// Up to the end of the metadata; rows follow.
    pub(super) fn write(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        out.u8(TABLE);
        out.b_varchar(&self.database, "TVP_TYPENAME.DbName")?;
        out.b_varchar(&self.schema, "TVP_TYPENAME.OwningSchema")?;
        out.b_varchar(&self.name, "TVP_TYPENAME.TypeName")?;
        match &self.columns {
            None => out.u16(NO_METADATA),
            Some(columns) => {
                out.u16(fit(columns.len(), "TVP_COLMETADATA.Count")?);
                for column in columns {
                    out.u32(column.user_type);
                    out.u16(column.flags);
                    column.info.write(out)?;
                    out.b_varchar(&column.name, "TVP_COLMETADATA.ColName")?;
                }
            }
        }
        if let Some(order) = &self.order {
            out.u8(ORDER);
            out.u16(fit(order.len(), "TVP_ORDER_UNIQUE.Count")?);
            for (column, flags) in order {
                out.u16(*column);
                out.u8(*flags);
            }
        }
        if let Some(ordering) = &self.ordering {
            out.u8(ORDERING);
            out.u16(fit(ordering.len(), "TVP_COLUMN_ORDERING.Count")?);
            ordering.iter().for_each(|column| out.u16(*column));
        }
        out.u8(END);
        Ok(())
    }
}

/// A table's type as far as it was read: it has no length.
#[derive(Debug)]
pub(super) struct TableReader {
    columns: u16,
    limit: usize,
    read: TableType,
}

impl TableReader {
    /// After 0xF3.
    pub(super) fn start(limit: usize, r: &mut Reader<'_>) -> Result<Self, WireError> {
        let mut read = TableType {
            database: r.b_varchar("TVP_TYPENAME.DbName")?,
            schema: r.b_varchar("TVP_TYPENAME.OwningSchema")?,
            name: r.b_varchar("TVP_TYPENAME.TypeName")?,
            ..TableType::default()
        };
        let columns = match r.u16("TVP_COLMETADATA.Count")? {
            NO_METADATA => 0,
            count => {
                r.at_most(count.into(), limit, "TVP_COLMETADATA.Count")?;
                read.columns = Some(Vec::new());
                count
            }
        };
        Ok(Self { columns, limit, read })
    }

    /// Reads a column, or what follows them; `Some` at the end of the metadata.
    pub(super) fn step(&mut self, r: &mut Reader<'_>) -> Result<Option<TableType>, WireError> {
        if let (Some(columns), 1..) = (&mut self.read.columns, self.columns) {
            columns.push(TableColumn {
                user_type: r.u32("TVP_COLMETADATA.UserType")?,
                flags: r.u16("TVP_COLMETADATA.Flags")?,
                info: TypeInfo::parse(r, Place::Parameter)?,
                name: r.b_varchar("TVP_COLMETADATA.ColName")?,
            });
            self.columns -= 1;
            return Ok(None);
        }
        match r.u8("TVP_TYPE_INFO")? {
            END => return Ok(Some(std::mem::take(&mut self.read))),
            ORDER if self.read.order.is_none() => {
                let count = r.u16("TVP_ORDER_UNIQUE.Count")?;
                r.at_most(count.into(), self.limit, "TVP_ORDER_UNIQUE.Count")?;
                let mut columns = r.inside(usize::from(count) * 3, "TVP_ORDER_UNIQUE")?;
                let order = (0..count)
                    .map(|_| Ok((columns.u16("TVP_ORDER_UNIQUE.ColNum")?, columns.u8("OrderUniqueFlags")?)))
                    .collect::<Result<_, WireError>>()?;
                self.read.order = Some(order);
            }
            ORDERING if self.read.ordering.is_none() => {
                let count = r.u16("TVP_COLUMN_ORDERING.Count")?;
                r.at_most(count.into(), self.limit, "TVP_COLUMN_ORDERING.Count")?;
                let mut columns = r.inside(usize::from(count) * 2, "TVP_COLUMN_ORDERING")?;
                let ordering =
                    (0..count).map(|_| columns.u16("TVP_COLUMN_ORDERING.ColNum")).collect::<Result<_, WireError>>()?;
                self.read.ordering = Some(ordering);
            }
            other => return Err(r.malformed("TVP_TYPE_INFO", other.into(), "0x00, 0x10 or 0x11, each once")),
        }
        Ok(None)
    }
}
