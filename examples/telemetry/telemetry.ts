// Vitals of an MCP server that stands behind no gateway, pushed to the exporter. No dependencies; docs/telemetry.md.
import { hostname } from "node:os";

const BOUNDS = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 3, 5, 10, 30, 60, 120, 300];
const STARTED_AT = Date.now() / 1000;
type Operation = { method: string; tool: string; error_type: string; count: number; sum: number; buckets: number[] };
const calls = new Map<string, Operation>(); // all of it since STARTED_AT, so that a lost push costs nothing

/** Count one call; `error` is "", "tool_error", "timeout" or a JSON-RPC code. */
export function called(tool: string, seconds: number, error = ""): void {
  const key = JSON.stringify([tool, error]);
  const entry = calls.get(key) ??
    { method: "tools/call", tool, error_type: error, count: 0, sum: 0, buckets: BOUNDS.map(() => 0) };
  entry.count += 1;
  entry.sum += seconds;
  BOUNDS.forEach((bound, at) => { if (seconds <= bound) entry.buckets[at] += 1; });
  calls.set(key, entry);
}

/** Tell the exporter at `url`; call it each few seconds, and once with `final` at the end. */
export async function push(url: string, server: string, sessions = 0, final = false, token?: string): Promise<void> {
  const body = { schema: 1, source: `${hostname()}-${process.pid}-${STARTED_AT}`, started_at: STARTED_AT, final,
    bounds: BOUNDS, operations: [...calls.values()], sessions: { active: sessions } };
  const headers = { "Content-Type": "application/json", ...(token ? { Authorization: `Bearer ${token}` } : {}) };
  const answer = await fetch(`${url}/telemetry/v1/servers/${server}`, { method: "POST", headers, body: JSON.stringify(body) });
  if (!answer.ok) throw new Error(`the exporter answered ${answer.status}: ${await answer.text()}`);
}
