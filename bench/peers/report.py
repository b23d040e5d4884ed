"""The goals, and how they are shown: a table and a chart of loam's figures beside the best peer's."""
import html


def is_peer(*names):
    return lambda who: not who.startswith("loam") and who.startswith(names or ("",))


def goals_of(work, metric, amx):
    """(loam's name, choice of what it is held against, ratio to reach or None) for the lines of the table."""
    name = work.lower()
    if work.startswith("llm"):
        small, middle = "smollm" in name, "qwen" in name
        if metric.startswith("pp") and "share" not in metric:
            long = metric == "pp2048"
            goal = (2.5 if long else 2.0 if metric == "pp512" else None) if small else (4.0 if amx else 1.8) if metric == "pp512" else None
            return [("loam fast", is_peer(), goal)]
        if metric.startswith("tg") and "share" not in metric:
            return [("loam fast", is_peer(), 1.6 if small else 1.35 if middle else 1.07)]
        if metric.startswith("first token"):
            return [("loam generate", is_peer(), 3.0), ("loam, prefix from a file", is_peer(), 10.0)]
    if work.startswith("answers") and metric == "decode":
        return [("loam, prompt lookup", lambda who: who == "loam, plain", 1.8)]
    if work.startswith("answers") and metric.startswith("first token"):
        return [("loam, prefix from a file", lambda who: who == "loam, read", 10.0)]
    if work == "embed" and metric.startswith("batch") and "share" not in metric:
        return [("loam fast", is_peer(), 2.0), ("loam exact", is_peer("onnxruntime f32"), 1.5)]
    if work == "embed" and metric.startswith("one query"):
        return [("loam fast", is_peer(), None)]
    if work.startswith("search") and metric == "one query":
        return [(f"loam {s}", lambda who, s=s: is_peer()(who) and who.endswith(s), 1.0) for s in ("f32", "f16", "int8")]
    if work.startswith("search") and metric == "batch 64":
        return [("loam f32", is_peer("numpy"), 1.5), ("loam f16", is_peer("numpy"), None), ("loam int8", is_peer("numpy"), 4.0)]
    if work == "tokenize":
        return [("loam", is_peer("tiktoken"), 1.5), ("loam", is_peer("tokenizers"), None)]
    return []


def goals_met(value, units, amx):
    """One dict a line of the table; ratio None: open."""
    rows = []
    for work, metric in units:
        unit = units[work, metric]
        for ours, chosen, goal in goals_of(work, metric, amx):
            mine = value.get((work, metric, ours))
            theirs = {who: v for (w, m, who), v in value.items() if (w, m) == (work, metric) and who != ours and chosen(who)}
            best = (min if unit == "ms" else max)(theirs, key=theirs.get) if theirs else None
            ratio = None
            if mine and best:
                ratio = theirs[best] / mine if unit == "ms" else mine / theirs[best]
            share = [f"{value[w, m, who]:.0f} % of the {m.rsplit(' ', 1)[1]}" for (w, m, who) in value
                     if w == work and who in (ours, "loam") and "share of the" in m and
                     m.startswith((metric + ",", f"{ours[5:]}, {metric},"))]
            rows.append(dict(name=f"{work}, {metric} ({ours.removeprefix('loam').strip(' ,') or 'ids equal'})", mine=mine, unit=unit, best=best,
                             theirs=theirs.get(best), ratio=ratio, goal=goal, share="; ".join(share)))
    return rows


def figure(x):
    return f"{x:.0f}" if x >= 1000 else f"{x:.3g}"


def lines_of(rows, samples, value, units):
    lines = ["| work | loam | best peer | loam / peer | goal | of the machine's limit |", "| --- | --- | --- | --- | --- | --- |"]
    for r in rows:
        mine = "open" if r["mine"] is None else f"{figure(r['mine'])} {r['unit']}"
        theirs = "open" if r["best"] is None else f"{figure(r['theirs'])} ({r['best']})"
        ratio = "open" if r["ratio"] is None else f"{r['ratio']:.2f}" + (" (below)" if r["goal"] and r["ratio"] < r["goal"] else "")
        goal = "at most 0.5 ms" if "one query, 8 words" in r["name"] else f"{r['goal']:g}" if r["goal"] else ""
        lines.append(f"| {r['name']} | {mine} | {theirs} | {ratio} | {goal} | {r['share']} |")
    lines += ["", "| work | figure | unit | who: median (least to most) |", "| --- | --- | --- | --- |"]
    for work, metric in units:
        who = [f"{n}: {value[w, m, n]:.4g} ({min(v):.4g}-{max(v):.4g})" for (w, m, n), v in samples.items() if (w, m) == (work, metric)]
        lines.append(f"| {work} | {metric} | {units[work, metric]} | {'; '.join(who)} |")
    return lines


def chart(rows, title):
    """Bars of the ratios, cut at TOP; a line at 1 (as fast as the best peer), a tick at the goal."""
    rows = [r for r in rows if r["ratio"] is not None]
    left, wide, high, top, cut = 400, 460, 22, 64, 6.0
    height = top + high * len(rows) + 44

    def x(ratio):
        return left + wide * min(ratio, cut) / cut

    def say(px, py, text, anchor="start", style=""):
        return f'<text x="{px:.1f}" y="{py:.1f}" text-anchor="{anchor}" {style}>{html.escape(text)}</text>'

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="1080" height="{height}" viewBox="0 0 1080 {height}" '
           'font-family="sans-serif" font-size="12" fill="#222">', f'<rect width="1080" height="{height}" fill="#fff"/>',
           say(16, 22, "loam / best peer, same machine, same run (longer is faster)", style='font-size="15" font-weight="bold"'),
           say(16, 42, title[:150], style='font-size="10" fill="#555"')]
    for n in range(0, int(cut) + 1):
        colour = "#444" if n == 1 else "#ddd"
        out.append(f'<line x1="{x(n):.1f}" x2="{x(n):.1f}" y1="{top - 6}" y2="{height - 38}" stroke="{colour}"/>')
        out.append(say(x(n), height - 24, f"{n}", "middle", 'fill="#555"'))
    for i, r in enumerate(rows):
        y = top + i * high
        colour = "#2a9d5c" if r["goal"] is None or r["ratio"] >= r["goal"] else "#e0a030" if r["ratio"] >= 1 else "#c0504d"
        out.append(say(left - 8, y + 14, r["name"], "end"))
        out.append(f'<rect x="{left}" y="{y + 3}" width="{x(r["ratio"]) - left:.1f}" height="{high - 8}" fill="{colour}"/>')
        if r["goal"]:
            out.append(f'<line x1="{x(r["goal"]):.1f}" x2="{x(r["goal"]):.1f}" y1="{y}" y2="{y + high - 2}" stroke="#000" stroke-width="2"/>')
        end = max(x(r["ratio"]), x(r["goal"] or 0)) + 5
        out.append(say(end, y + 14, f"{r['ratio']:.2f} x {r['best']}", style='fill="#333" font-size="11"'))
    out.append(say(16, height - 6, "black tick: the goal; green: reached or none set, yellow: ahead of the peer but below the goal, red: behind",
                   style='font-size="10" fill="#555"'))
    return "\n".join(out + ["</svg>"]) + "\n"
