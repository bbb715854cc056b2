use regex_lite::Regex;

/// A checked expression.
#[derive(Debug)]
pub(super) enum Expr {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(String),
    List(Vec<Expr>),
    Root(Root),
    /// A variable of an `all` or `exists`, counted from the outermost.
    Local(usize),
    Field(Box<Expr>, String),
    Has(Box<Expr>, String),
    Index(Box<Expr>, Box<Expr>),
    Not(Box<Expr>),
    Negate(Box<Expr>),
    And(Vec<Expr>),
    Or(Vec<Expr>),
    If(Box<Expr>, Box<Expr>, Box<Expr>),
    Compare(Comparison, Box<Expr>, Box<Expr>),
    Arithmetic(Operation, Box<Expr>, Box<Expr>),
    In(Box<Expr>, Box<Expr>),
    /// `all` (`true`) or `exists` (`false`) over a list, or the keys of a map.
    Every(bool, Box<Expr>, Box<Expr>),
    Matches(Box<Expr>, Regex),
    Call(Function, Vec<Expr>),
}

/// What a condition may speak of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Root {
    Subject,
    Target,
    Pod,
    Now,
    Intent,
    Request,
    Command,
}

impl Root {
    pub(super) const ALL: [(&'static str, Self); 7] = [
        ("subject", Self::Subject),
        ("target", Self::Target),
        ("pod", Self::Pod),
        ("now", Self::Now),
        ("intent", Self::Intent),
        ("request", Self::Request),
        ("command", Self::Command),
    ];
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Size,
    StartsWith,
    EndsWith,
    Contains,
    LowerAscii,
    Timestamp,
    Duration,
    FullYear,
    Month,
    Date,
    DayOfWeek,
    Hours,
    Minutes,
}

impl Function {
    /// CEL's names; `matches` is not among them, since its pattern is compiled
    /// when the policy is.
    pub(super) const ALL: [(&'static str, Self); 13] = [
        ("size", Self::Size),
        ("startsWith", Self::StartsWith),
        ("endsWith", Self::EndsWith),
        ("contains", Self::Contains),
        ("lowerAscii", Self::LowerAscii),
        ("timestamp", Self::Timestamp),
        ("duration", Self::Duration),
        ("getFullYear", Self::FullYear),
        ("getMonth", Self::Month),
        ("getDate", Self::Date),
        ("getDayOfWeek", Self::DayOfWeek),
        ("getHours", Self::Hours),
        ("getMinutes", Self::Minutes),
    ];
}
