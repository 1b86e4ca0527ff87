// Starts Python and PyScript together. PyScript's hook for workers is made with Function(), which the
// page's content security policy forbids, and no worker is used: without the hook nothing asks for
// 'unsafe-eval'.
import "./$interpreter";
import { hooks } from "./$pyscript/core.js";

hooks.worker.onBeforeRunAsync.clear();
