// Every sentence of the page, in both of its languages.

const STRINGS = {
  en: {
    skip: "Skip to the text box", dark: "Dark", docs: "API", key: "API key of this service", use_key: "Use it",
    models: "Models", tabs: "What to do", one: "One text", many: "Many texts", code: "As code", text: "Text to classify",
    classify: "Classify", hint: "Ctrl + Enter sends it", examples: "Examples",
    unsure: "Not sure: this text is unlike those that the model has learnt from.",
    bars: "Scores; choose a label to see its evidence", all_bars: "Show all {count} labels", fewer: "Show fewer",
    why: "What speaks for and against “{label}”", why_value: "What makes the value",
    tip: "Green speaks for it, red against; point at a piece to see by how much. An exact decomposition of the score, not a claim about causes.",
    piece: "“{text}” adds {value} to the logit", all_pieces: "Show all {count} pieces",
    no_evidence: "No piece of the text bears on it.",
    time: "Where the time went", network: "network", queue: "queue", tokenize: "tokenize", inference: "inference", server: "rest of the service",
    pass: "Inference took {inference} ms on {device} ({clock}); texts in the pass: {batch}", history: "Asked in this session",
    lines: "One text a line", drop: "Drop a CSV, TSV, JSONL or text file, or choose one", column: "Column",
    classify_all: "Classify all", stop: "Stop", resume: "Go on", progress: "Progress",
    count: "{done} of {total} texts", rows_read: "{count} texts from {name}", label: "Label", score: "Score", text_column: "Text",
    least: "Score at least", most: "at most", download: "Download CSV", table: "Results", previous: "Previous", next: "Next",
    page: "{from}–{to} of {total}", any: "any", unsure_label: "not sure", code_hint: "The request for the text of the first tab.",
    copy: "Copy", copied: "Copied", labels: "{count} labels", value: "Value", none: "no label applies",
    about: "{count} labels, on {device}", nothing: "Write or choose a text first.",
    validation: "The service does not take this: {message}", invalid_json: "The service does not take this: {message}",
    too_large: "Too much at once: {message}", overloaded: "The service is busy. Try again in {seconds} s.",
    deadline_exceeded: "The service did not get to it in time. Try again.", unauthorized: "This service wants an API key.",
    unreachable: "The service does not answer. Once it runs again, send it once more.", other: "The service failed: {message}",
    waiting: "The service is busy; going on in {seconds} s.", no_rows: "No texts in {name}.", bad_line: "{name}, line {line}: no JSON object.",
    open_quote: "{name}, line {line}: nothing closes the quote.",
    closed_quote: "{name}, line {line}: broken quoting; a quote inside a quoted field is written twice.",
    other_columns: "{name}, line {line}: the header has another number of columns.",
    same_columns: "{name}, line {line}: two columns have the same name.",
    not_utf8: "{name} is not UTF-8 text; save it as UTF-8 and choose it again.",
  },
  zh: {
    skip: "跳到文本框", dark: "深色", docs: "接口", key: "本服务的 API 密钥", use_key: "使用",
    models: "模型", tabs: "要做什么", one: "单条文本", many: "批量文本", code: "代码", text: "要分类的文本",
    classify: "分类", hint: "Ctrl + Enter 发送", examples: "示例",
    unsure: "不确定：这条文本与模型学过的文本差别太大。",
    bars: "各标签得分；选择一个标签查看依据", all_bars: "显示全部 {count} 个标签", fewer: "收起",
    why: "支持与反对“{label}”的依据", why_value: "数值由什么构成",
    tip: "绿色为支持，红色为反对；指向片段可查看贡献大小。这是得分的精确分解，并不代表因果。",
    piece: "“{text}”使 logit 增加 {value}", all_pieces: "显示全部 {count} 个片段",
    no_evidence: "文本中没有与之相关的片段。",
    time: "时间花在哪里", network: "网络", queue: "排队", tokenize: "分词", inference: "推理", server: "服务其余部分",
    pass: "在 {device} 上推理 {inference} 毫秒（{clock}）；同批文本数：{batch}", history: "本次会话的提问",
    lines: "每行一条文本", drop: "将 CSV、TSV、JSONL 或文本文件拖到这里，或选择文件", column: "列",
    classify_all: "全部分类", stop: "停止", resume: "继续", progress: "进度",
    count: "已完成 {done} / {total} 条", rows_read: "从 {name} 读取了 {count} 条文本", label: "标签", score: "得分", text_column: "文本",
    least: "得分至少", most: "至多", download: "下载 CSV", table: "结果", previous: "上一页", next: "下一页",
    page: "第 {from}–{to} 条，共 {total} 条", any: "全部", unsure_label: "不确定", code_hint: "第一个标签页中文本对应的请求。",
    copy: "复制", copied: "已复制", labels: "{count} 个标签", value: "数值", none: "没有适用的标签",
    about: "{count} 个标签，运行于 {device}", nothing: "请先输入或选择一条文本。",
    validation: "服务无法接受：{message}", invalid_json: "服务无法接受：{message}",
    too_large: "一次发送过多：{message}", overloaded: "服务繁忙，请在 {seconds} 秒后重试。",
    deadline_exceeded: "服务未能及时处理，请重试。", unauthorized: "本服务需要 API 密钥。",
    unreachable: "服务没有响应。恢复运行后请重新发送。", other: "服务出错：{message}",
    waiting: "服务繁忙，{seconds} 秒后继续。", no_rows: "{name} 中没有文本。", bad_line: "{name} 第 {line} 行不是 JSON 对象。",
    open_quote: "{name} 第 {line} 行：引号没有闭合。",
    closed_quote: "{name} 第 {line} 行：引号用法有误；带引号的字段里，引号要写两遍。",
    other_columns: "{name} 第 {line} 行：列数与表头不一致。",
    same_columns: "{name} 第 {line} 行：有两列同名。",
    not_utf8: "{name} 不是 UTF-8 文本；请另存为 UTF-8 后重新选择。",
  },
};

let language = localStorage.getItem("language") ?? (navigator.language.startsWith("zh") ? "zh" : "en");

export function t(name, values = {}) {
  return STRINGS[language][name].replace(/\{(\w+)\}/g, (_, field) => values[field]);
}

export function sentence(error) {
  const name = error.type in STRINGS.en ? error.type : "other";
  return t(name, { message: error.message, seconds: error.retryAfterS || 1 });
}

export function otherLanguage() {
  language = language === "en" ? "zh" : "en";
  localStorage.setItem("language", language);
}

// Put the sentences of the present language into the elements that ask for them.
export function translate() {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const element of document.querySelectorAll("[data-i18n]")) element.textContent = t(element.dataset.i18n);
  for (const element of document.querySelectorAll("[data-i18n-label]")) {
    element.setAttribute("aria-label", t(element.dataset.i18nLabel));
  }
  const button = document.getElementById("language");
  button.textContent = language === "en" ? "中文" : "English";
  button.lang = language === "en" ? "zh-CN" : "en";
}
