// Files of texts to rows: CSV and TSV (RFC 4180), JSON lines, plain lines.

export class FileError extends Error {
  // `sentence` is a name in strings.js, `line` counts from 1.
  constructor(sentence, line = 0) {
    super(sentence);
    this.sentence = sentence;
    this.line = line;
  }
}

// {columns, rows}: rows are objects; plain lines have the column "text". Raises FileError for bytes that are no UTF-8,
// a line that is no JSON object, broken quoting and rows that do not fit the header.
export function parseFile(name, bytes) {
  const text = decode(bytes);
  if (/\.(jsonl|ndjson)$/i.test(name)) return parseJsonLines(text);
  if (/\.csv$/i.test(name)) return toTable(parseRecords(text, ",", true));
  if (/\.tsv$/i.test(name)) return parseTsv(text);
  return parseLines(text);
}

function decode(bytes) {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes); // without a byte order mark
  } catch {
    throw new FileError("not_utf8");
  }
}

export function parseLines(text) {
  const rows = text.split(/\r?\n/).filter((line) => line.trim()).map((line) => ({ text: line }));
  return { columns: ["text"], rows };
}

function parseJsonLines(text) {
  const rows = [];
  text.split(/\r?\n/).forEach((line, index) => {
    if (!line.trim()) return;
    let row = null;
    try {
      row = JSON.parse(line);
    } catch {
      // told below
    }
    if (typeof row !== "object" || row === null || Array.isArray(row)) throw new FileError("bad_line", index + 1);
    rows.push(row);
  });
  return { columns: Object.keys(rows[0] ?? {}), rows };
}

// As in training, quotes mean nothing where they break, or take in tabs although the file is whole without them.
function parseTsv(text) {
  const table = (quotes) => toTable(parseRecords(text, "\t", quotes));
  let quoted = null;
  try {
    quoted = table(true);
    if (!quoted.rows.some((row) => Object.values(row).some((cell) => cell.includes("\t")))) return quoted;
  } catch {
    return table(false);
  }
  try {
    return table(false);
  } catch {
    return quoted;
  }
}

function toTable(records) {
  const { fields: columns, line: first } = records[0] ?? { fields: [], line: 1 };
  if (new Set(columns).size < columns.length) throw new FileError("same_columns", first);
  const rows = [];
  for (const { fields, line } of records.slice(1)) {
    if (fields.length !== columns.length) throw new FileError("other_columns", line);
    if (fields.some(Boolean)) rows.push(Object.fromEntries(columns.map((column, index) => [column, fields[index]])));
  }
  return { columns, rows };
}

// {fields, line} of every line, or more where quotes take in line ends, that is not blank.
function parseRecords(text, separator, quotes) {
  const records = [];
  const unquoted = separator === "," ? /[^,\r\n]*/y : /[^\t\r\n]*/y;
  let at = 0, line = 1;

  function next() {
    const start = at;
    if (!quotes || text[at] !== '"') {
      unquoted.lastIndex = start;
      unquoted.test(text);
      at = unquoted.lastIndex;
      return text.slice(start, at);
    }
    let end = text.indexOf('"', start + 1);
    while (end >= 0 && text[end + 1] === '"') end = text.indexOf('"', end + 2);
    if (end < 0) throw new FileError("open_quote", line);
    const field = text.slice(start + 1, end);
    line += field.match(/\r\n?|\n/g)?.length ?? 0;
    at = end + 1;
    if (at < text.length && ![separator, "\r", "\n"].includes(text[at])) throw new FileError("closed_quote", line);
    return field.replaceAll('""', '"');
  }

  while (at < text.length) {
    const record = { fields: [], line };
    do record.fields.push(next()); while (text[at++] === separator);
    if (text[at - 1] === "\r" && text[at] === "\n") at += 1;
    line += 1;
    if (record.fields.length > 1 || record.fields[0]) records.push(record);
  }
  return records;
}

// A cell that a spreadsheet would run as a formula is kept text by a leading apostrophe.
export function toCsv(header, rows) {
  const cell = (value) => {
    const text = /^[=+\-@\t\r]/.test(value) && typeof value === "string" ? `'${value}` : String(value ?? "");
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return [header, ...rows].map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}
