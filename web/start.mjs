// Starts Python and PyScript together. PyScript's hook for workers is made with Function(), which the
// page's content security policy forbids, and no worker is used: without the hook nothing asks for
// 'unsafe-eval'. Meanwhile the bar shows how much has come; Python goes on from there.
import "./$interpreter";
import { hooks } from "./$pyscript/core.js";

hooks.worker.onBeforeRunAsync.clear();

const bar = document.getElementById("loading");
const count = (list) => list.getEntries().forEach((each) => (bar.value += each.encodedBodySize));
new PerformanceObserver(count).observe({ type: "resource", buffered: true });
