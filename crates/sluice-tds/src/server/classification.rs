use crate::error::{TooLong, WireError};
use crate::limits::Negotiated;
use crate::text::Text;
use crate::wire::{Put, Reader, fit};

/// Sensitivity labels of a result (2.2.7.5).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DataClassification {
    /// Labels: name and id.
    pub labels: Vec<(Text, Text)>,
    /// Types of information: name and id.
    pub types: Vec<(Text, Text)>,
    /// Rank of the whole result. Read and written from version 2 on.
    pub rank: Option<i32>,
    /// What each column holds, in the order of COLMETADATA.
    pub columns: Vec<Vec<Sensitivity>>,
}

/// What a column holds, from one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sensitivity {
    /// Number of a label, from zero; `None`: no label.
    pub label: Option<u16>,
    /// Number of a type, from zero; `None`: no type.
    pub kind: Option<u16>,
    /// Its rank, from version 2 on.
    pub rank: Option<i32>,
}

impl DataClassification {
    pub(super) fn write(&self, negotiated: &Negotiated, out: &mut Vec<u8>) -> Result<(), TooLong> {
        for (list, count, name, id) in [
            (&self.labels, LABELS, "SensitivityLabelName", "SensitivityLabelId"),
            (&self.types, TYPES, "InformationTypeName", "InformationTypeId"),
        ] {
            out.u16(fit(list.len(), count)?);
            for (value, number) in list {
                out.b_varchar(value, name)?;
                out.b_varchar(number, id)?;
            }
        }
        let ranks = negotiated.ranks();
        if ranks {
            out.i32(self.rank.unwrap_or(NO_RANK));
        }
        out.u16(fit(self.columns.len(), COLUMNS)?);
        for column in &self.columns {
            out.u16(fit(column.len(), PROPERTIES)?);
            for sensitivity in column {
                out.u16(sensitivity.label.unwrap_or(u16::MAX));
                out.u16(sensitivity.kind.unwrap_or(u16::MAX));
                if ranks {
                    out.i32(sensitivity.rank.unwrap_or(NO_RANK));
                }
            }
        }
        Ok(())
    }
}

/// DATACLASSIFICATION as far as it was read: it has no length.
#[derive(Debug)]
pub(super) struct ClassificationReader {
    ranks: bool,
    limit: usize,
    stage: Stage,
    read: DataClassification,
}

/// What comes next, and how often.
#[derive(Clone, Copy, Debug)]
enum Stage {
    Labels(u16),
    TypeCount,
    Types(u16),
    Rank,
    ColumnCount,
    Columns(u16),
    Properties { left: u16, columns: u16 },
}

impl ClassificationReader {
    pub(super) fn start(negotiated: &Negotiated, limit: usize, r: &mut Reader<'_>) -> Result<Self, WireError> {
        let labels = count(r, limit, LABELS)?;
        let read = DataClassification::default();
        Ok(Self { ranks: negotiated.ranks(), limit, stage: Stage::Labels(labels), read })
    }

    /// Reads one item; `Some` when all are read.
    pub(super) fn step(&mut self, r: &mut Reader<'_>) -> Result<Option<DataClassification>, WireError> {
        self.stage = match self.stage {
            Stage::Labels(0) => Stage::TypeCount,
            Stage::Labels(left) => {
                self.read.labels.push((r.b_varchar("SensitivityLabelName")?, r.b_varchar("SensitivityLabelId")?));
                Stage::Labels(left - 1)
            }
            Stage::TypeCount => Stage::Types(count(r, self.limit, TYPES)?),
            Stage::Types(0) if self.ranks => Stage::Rank,
            Stage::Types(0) => Stage::ColumnCount,
            Stage::Types(left) => {
                self.read.types.push((r.b_varchar("InformationTypeName")?, r.b_varchar("InformationTypeId")?));
                Stage::Types(left - 1)
            }
            Stage::Rank => {
                self.read.rank = rank(r)?;
                Stage::ColumnCount
            }
            Stage::ColumnCount => Stage::Columns(count(r, self.limit, COLUMNS)?),
            Stage::Columns(0) => return Ok(Some(std::mem::take(&mut self.read))),
            Stage::Columns(left) => {
                let properties = count(r, self.limit, PROPERTIES)?;
                self.read.columns.push(Vec::new());
                Stage::Properties { left: properties, columns: left - 1 }
            }
            Stage::Properties { left: 0, columns } => Stage::Columns(columns),
            Stage::Properties { left, columns } => {
                let label = index(r, self.read.labels.len(), "SensitivityLabelIndex")?;
                let kind = index(r, self.read.types.len(), "InformationTypeIndex")?;
                let rank = if self.ranks { rank(r)? } else { None };
                if let Some(column) = self.read.columns.last_mut() {
                    column.push(Sensitivity { label, kind, rank });
                }
                Stage::Properties { left: left - 1, columns }
            }
        };
        Ok(None)
    }
}

fn count(r: &mut Reader<'_>, limit: usize, field: &'static str) -> Result<u16, WireError> {
    let count = r.u16(field)?;
    r.at_most(count.into(), limit, field).map(|_| count)
}

fn rank(r: &mut Reader<'_>) -> Result<Option<i32>, WireError> {
    Ok(Some(r.i32("SensitivityRank")?).filter(|rank| *rank != NO_RANK))
}

fn index(r: &mut Reader<'_>, count: usize, field: &'static str) -> Result<Option<u16>, WireError> {
    match r.u16(field)? {
        u16::MAX => Ok(None),
        index if usize::from(index) < count => Ok(Some(index)),
        index => Err(r.malformed(field, index.into(), "names one of the token's own list")),
    }
}

/// "Not defined".
const NO_RANK: i32 = -1;
const LABELS: &str = "SensitivityLabelCount";
const TYPES: &str = "InformationTypeCount";
const COLUMNS: &str = "NumResultSetColumns";
const PROPERTIES: &str = "NumSensitivityProperties";
