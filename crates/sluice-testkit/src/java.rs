/// Source of a Java program, for the JDK's launcher: `java Ask.java URL [TOKEN]`
/// prints the status of the answer and its body.
pub const ASK_JAVA: &str = include_str!("../../../tests/java/Ask.java");
