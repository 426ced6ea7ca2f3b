// Files of texts to rows: CSV and TSV (RFC 4180), JSON lines, plain lines.

export class FileError extends Error {
  // `sentence` is a name in strings.js, `line` counts from 1.
  constructor(sentence, line = 0) {
    super(sentence);
    this.sentence = sentence;
    this.line = line;
  }
}

// {columns, rows}: rows are objects; plain lines have the column "text". Raises FileError for bytes that are no UTF-8
// and for a line that is no JSON object.
export function parseFile(name, bytes) {
  const text = decode(bytes);
  if (/\.(jsonl|ndjson)$/i.test(name)) return parseJsonLines(text);
  if (/\.(csv|tsv)$/i.test(name)) return parseTable(text, /\.tsv$/i.test(name) ? "\t" : ",");
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

function parseTable(text, separator) {
  const [columns = [], ...records] = parseRecords(text, separator);
  const rows = records.filter((record) => record.some(Boolean)).map((record) => {
    return Object.fromEntries(columns.map((column, index) => [column, record[index] ?? ""]));
  });
  return { columns, rows };
}

export function parseRecords(text, separator) {
  const records = [];
  let record = [], field = "", quoted = false;
  for (let at = 0; at < text.length; at += 1) {
    const character = text[at];
    if (quoted) {
      if (character !== '"') field += character;
      else if (text[at + 1] === '"') { field += '"'; at += 1; } else quoted = false;
    } else if (character === '"' && !field) quoted = true;
    else if (character === separator) { record.push(field); field = ""; }
    else if (character === "\n") { records.push([...record, field]); record = []; field = ""; }
    else if (character !== "\r") field += character;
  }
  if (field || record.length) records.push([...record, field]);
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
