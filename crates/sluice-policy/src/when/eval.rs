//! Running a checked expression, within a budget, to a three-valued answer.

use std::borrow::Cow;
use std::cmp::Ordering;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::expression::{Comparison, Expr, Function, Operation, Root};
use super::value::{Known, Value};
use crate::evaluate::Question;
use crate::units;

/// Steps of one evaluation. A node is a step, and so are 64 bytes of text and
/// an item of a list.
const BUDGET: usize = 50_000;
const BYTES_A_STEP: usize = 64;

/// The answer, or why it is not known.
pub(super) fn evaluate(expr: &Expr, question: Question<'_>) -> Result<bool, String> {
    Machine { question, locals: Vec::new(), left: BUDGET }.bool(expr)
}

struct Machine<'a> {
    question: Question<'a>,
    locals: Vec<Value<'a>>,
    left: usize,
}

impl<'a> Machine<'a> {
    fn eval(&mut self, expr: &'a Expr) -> Known<'a> {
        self.pay(1)?;
        match expr {
            Expr::Null => Ok(Value::Null),
            Expr::Bool(value) => Ok(Value::Bool(*value)),
            Expr::Int(value) => Ok(Value::Int(*value)),
            Expr::Double(value) => Ok(Value::Double(*value)),
            Expr::Text(text) => Ok(Value::text(text)),
            Expr::List(items) => {
                let items: Result<Vec<_>, _> = items.iter().map(|item| self.eval(item)).collect();
                Ok(Value::List(items?))
            }
            Expr::Root(root) => Ok(self.root(*root)),
            Expr::Local(index) => {
                let value = self.locals.get(*index).cloned().ok_or("a variable is not set")?;
                self.pay(size(&value))?;
                Ok(value)
            }
            Expr::Field(operand, name) => {
                let operand = self.eval(operand)?;
                let field = operand.field(name)?.ok_or_else(|| format!("`{name}` is not there"))?;
                self.pay(size(&field))?;
                Ok(field)
            }
            Expr::Has(operand, name) => {
                let there = match self.path(operand)? {
                    Some(operand) => operand.field(name)?.is_some_and(|field| field.is_present()),
                    None => false,
                };
                Ok(Value::Bool(there))
            }
            Expr::Index(operand, key) => {
                let (operand, key) = (self.eval(operand)?, self.eval(key)?);
                index(&operand, &key)?.ok_or_else(|| "nothing is at that index".to_owned())
            }
            Expr::Not(operand) => self.bool(operand).map(|value| Value::Bool(!value)),
            Expr::Negate(operand) => match self.eval(operand)? {
                Value::Int(value) => value.checked_neg().map(Value::Int).ok_or_else(overflow),
                Value::Double(value) => Ok(Value::Double(-value)),
                other => Err(format!("`-` of {}", other.kind())),
            },
            Expr::And(parts) => self.every(true, parts).map(Value::Bool),
            Expr::Or(parts) => self.every(false, parts).map(Value::Bool),
            Expr::If(condition, yes, no) => {
                if self.bool(condition)? {
                    self.eval(yes)
                } else {
                    self.eval(no)
                }
            }
            Expr::Compare(comparison, a, b) => {
                let (a, b) = (self.eval(a)?, self.eval(b)?);
                self.pay(size(&a).min(size(&b)))?;
                compare(*comparison, &a, &b).map(Value::Bool)
            }
            Expr::Arithmetic(operation, a, b) => {
                let (a, b) = (self.eval(a)?, self.eval(b)?);
                self.pay(size(&a) + size(&b))?;
                arithmetic(*operation, a, b)
            }
            Expr::In(item, range) => {
                let (item, range) = (self.eval(item)?, self.eval(range)?);
                self.contains(&item, range).map(Value::Bool)
            }
            Expr::Every(every, range, body) => self.quantified(*every, range, body).map(Value::Bool),
            Expr::Matches(text, regex) => {
                let text = self.text(text)?;
                // Linear in the text, with the pattern as the factor.
                self.pay(text.len().saturating_mul(regex.as_str().len()) / BYTES_A_STEP)?;
                Ok(Value::Bool(regex.is_match(&text)))
            }
            Expr::Call(function, arguments) => self.call(*function, arguments),
        }
    }

    fn bool(&mut self, expr: &'a Expr) -> Result<bool, String> {
        match self.eval(expr)? {
            Value::Bool(value) => Ok(value),
            other => Err(format!("{} stands where a bool is needed", other.kind())),
        }
    }

    fn text(&mut self, expr: &'a Expr) -> Result<Cow<'a, str>, String> {
        match self.eval(expr)? {
            Value::Text(text) => {
                self.pay(text.len() / BYTES_A_STEP)?;
                Ok(text)
            }
            other => Err(format!("{} stands where a string is needed", other.kind())),
        }
    }

    fn root(&self, root: Root) -> Value<'a> {
        let command = self.question.command;
        match root {
            Root::Subject => Value::Subject(&command.subject),
            Root::Target => Value::Target(&command.target),
            Root::Pod => Value::Pod(&command.workload),
            Root::Now => Value::Time(command.at),
            Root::Intent => Value::text(command.intents.first().map_or("", |intent| &intent.text)),
            Root::Request => Value::Request(self.question.request),
            Root::Command => Value::Command(command),
        }
    }

    /// A value at the end of a path: `Ok(None)` where a step of it is known not
    /// to be there.
    fn path(&mut self, expr: &'a Expr) -> Result<Option<Value<'a>>, String> {
        self.pay(1)?;
        match expr {
            Expr::Field(operand, name) => match self.path(operand)? {
                Some(operand) => operand.field(name),
                None => Ok(None),
            },
            Expr::Index(operand, key) => {
                let Some(operand) = self.path(operand)? else { return Ok(None) };
                let key = self.eval(key)?;
                index(&operand, &key)
            }
            other => self.eval(other).map(Some),
        }
    }

    /// `&&` (`true`) and `||` (`false`): one part that decides, decides, though
    /// others are not known.
    fn every(&mut self, every: bool, parts: &'a [Expr]) -> Result<bool, String> {
        let mut unknown = None;
        for part in parts {
            match self.bool(part) {
                Ok(value) if value != every => return Ok(value),
                Ok(_) => {}
                Err(why) => unknown = unknown.or(Some(why)),
            }
        }
        unknown.map_or(Ok(every), Err)
    }

    fn quantified(&mut self, every: bool, range: &'a Expr, body: &'a Expr) -> Result<bool, String> {
        let items = self.eval(range)?.items()?;
        self.pay(items.len())?;
        let mut unknown = None;
        for item in items {
            self.locals.push(item);
            let answer = self.bool(body);
            self.locals.pop();
            match answer {
                Ok(value) if value != every => return Ok(value),
                Ok(_) => {}
                Err(why) => unknown = unknown.or(Some(why)),
            }
        }
        unknown.map_or(Ok(every), Err)
    }

    fn contains(&mut self, item: &Value<'a>, range: Value<'a>) -> Result<bool, String> {
        let mut unknown = None;
        for other in range.items()? {
            self.pay(1 + size(&other))?;
            match item.equals(&other) {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(why) => unknown = unknown.or(Some(why)),
            }
        }
        unknown.map_or(Ok(false), Err)
    }

    fn call(&mut self, function: Function, arguments: &'a [Expr]) -> Known<'a> {
        let (first, second) = match arguments {
            [first] => (first, None),
            [first, second] => (first, Some(second)),
            _ => return Err("a function has a wrong number of arguments".to_owned()),
        };
        match (function, second) {
            (Function::StartsWith | Function::EndsWith | Function::Contains, Some(second)) => {
                let (text, part) = (self.text(first)?, self.text(second)?);
                Ok(Value::Bool(match function {
                    Function::StartsWith => text.starts_with(&*part),
                    Function::EndsWith => text.ends_with(&*part),
                    _ => text.contains(&*part),
                }))
            }
            (Function::Size, None) => {
                let count = match self.eval(first)? {
                    Value::Text(text) => {
                        self.pay(text.len() / BYTES_A_STEP)?;
                        text.chars().count()
                    }
                    other => other.items()?.len(),
                };
                i64::try_from(count).map(Value::Int).map_err(|_| overflow())
            }
            (Function::LowerAscii, None) => Ok(Value::Text(Cow::Owned(self.text(first)?.to_ascii_lowercase()))),
            (Function::Timestamp, None) => {
                let text = self.text(first)?;
                text.parse().map(Value::Time).map_err(|_| "a string is no timestamp".to_owned())
            }
            (Function::Duration, None) => {
                let span = units::duration(&self.text(first)?)?;
                SignedDuration::try_from(span).map(Value::Span).map_err(|_| overflow())
            }
            (function, None) => match self.eval(first)? {
                Value::Time(time) => Ok(Value::Int(calendar(function, time))),
                other => Err(format!("{} stands where a timestamp is needed", other.kind())),
            },
            (_, Some(_)) => Err("a function has a wrong number of arguments".to_owned()),
        }
    }

    /// Once the budget is gone it stays gone: whatever needs more is unknown.
    fn pay(&mut self, steps: usize) -> Result<(), String> {
        match self.left.checked_sub(steps) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                self.left = 0;
                Err("its evaluation is over budget".to_owned())
            }
        }
    }
}

/// What it costs to copy or compare.
fn size(value: &Value<'_>) -> usize {
    match value {
        Value::Text(text) => text.len() / BYTES_A_STEP,
        Value::List(items) => items.len(),
        Value::Json(json) => json.as_array().map_or(1, Vec::len),
        _ => 0,
    }
}

fn index<'a>(operand: &Value<'a>, key: &Value<'a>) -> Result<Option<Value<'a>>, String> {
    match (operand, key) {
        (_, Value::Text(name)) => operand.field(name),
        (Value::List(items), Value::Int(at)) => Ok(usize::try_from(*at).ok().and_then(|at| items.get(at)).cloned()),
        (Value::Json(json), Value::Int(at)) => {
            let item = usize::try_from(*at).ok().and_then(|at| json.as_array()?.get(at));
            Ok(item.map(Value::from_json))
        }
        (Value::Null, Value::Int(_)) => Ok(None),
        (operand, key) => Err(format!("{} is indexed by {}", operand.kind(), key.kind())),
    }
}

fn compare(comparison: Comparison, a: &Value<'_>, b: &Value<'_>) -> Result<bool, String> {
    match comparison {
        Comparison::Equal => a.equals(b),
        Comparison::NotEqual => a.equals(b).map(|equal| !equal),
        Comparison::Less => a.order(b).map(Ordering::is_lt),
        Comparison::LessOrEqual => a.order(b).map(Ordering::is_le),
        Comparison::Greater => a.order(b).map(Ordering::is_gt),
        Comparison::GreaterOrEqual => a.order(b).map(Ordering::is_ge),
    }
}

fn arithmetic<'a>(operation: Operation, a: Value<'a>, b: Value<'a>) -> Known<'a> {
    use Operation::{Add, Divide, Multiply, Remainder, Subtract};
    match (operation, a, b) {
        (Add, Value::Text(a), Value::Text(b)) => Ok(Value::Text(Cow::Owned(format!("{a}{b}")))),
        (Subtract, Value::Time(a), Value::Time(b)) => Ok(Value::Span(a.duration_since(b))),
        (Add, Value::Time(a), Value::Span(b)) => a.checked_add(b).map(Value::Time).map_err(|_| overflow()),
        (Subtract, Value::Time(a), Value::Span(b)) => a.checked_sub(b).map(Value::Time).map_err(|_| overflow()),
        (Add, Value::Span(a), Value::Span(b)) => a.checked_add(b).map(Value::Span).ok_or_else(overflow),
        (Subtract, Value::Span(a), Value::Span(b)) => a.checked_sub(b).map(Value::Span).ok_or_else(overflow),
        (operation, Value::Int(a), Value::Int(b)) => {
            let value = match operation {
                Add => a.checked_add(b),
                Subtract => a.checked_sub(b),
                Multiply => a.checked_mul(b),
                Divide => a.checked_div(b),
                Remainder => a.checked_rem(b),
            };
            value.map(Value::Int).ok_or_else(overflow)
        }
        (operation, Value::Double(a), Value::Double(b)) => Ok(Value::Double(match operation {
            Add => a + b,
            Subtract => a - b,
            Multiply => a * b,
            Divide => a / b,
            Remainder => return Err("`%` of doubles".to_owned()),
        })),
        (_, a, b) => Err(format!("no arithmetic of {} and {}", a.kind(), b.kind())),
    }
}

/// CEL counts months from 0, days of the month from 1, and Sunday as 0.
fn calendar(function: Function, time: Timestamp) -> i64 {
    let zoned = time.to_zoned(TimeZone::UTC);
    match function {
        Function::FullYear => i64::from(zoned.year()),
        Function::Month => i64::from(zoned.month()) - 1,
        Function::Date => i64::from(zoned.day()),
        Function::DayOfWeek => i64::from(zoned.weekday().to_sunday_zero_offset()),
        Function::Hours => i64::from(zoned.hour()),
        _ => i64::from(zoned.minute()),
    }
}

fn overflow() -> String {
    "a number is out of range".to_owned()
}
