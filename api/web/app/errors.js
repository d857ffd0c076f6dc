/** @file What went wrong in a request, as the API says it (RFC 9457). */

/** @typedef {{field: string, problem: string}} FieldProblem */

/** A request that the server has refused or not answered. */
export class ApiError extends Error {
  /**
   * @param {number} status 0: the server was not reached
   * @param {{title?: string, detail?: string, code?: string, fields?: FieldProblem[], request_id?: string,
   *   memory?: any}} problem
   * @param {number | null} retryAfterS
   */
  constructor(status, problem, retryAfterS = null) {
    super(problem.detail || problem.title || `HTTP ${status}`);
    this.name = "ApiError";
    this.status = status;
    this.code = problem.code ?? "";
    /** Each invalid field of the request. */
    this.fields = problem.fields ?? [];
    this.requestId = problem.request_id ?? null;
    /** With `not_enough_memory`: what is needed, what there is, and the ways out. */
    this.memory = problem.memory ?? null;
    this.retryAfterS = retryAfterS;
  }

  /** Whether the same request may succeed a little later. */
  get isTemporary() {
    return this.status === 0 || this.status === 429 || this.status === 502 || this.status === 503;
  }
}
