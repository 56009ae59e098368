// Problems (RFC 9457), reduced to what the page needs: title, detail, and the status, which is 0 without an answer.
import { t } from "./translate.js";

export const unreachable = () => ({
  title: t("The service cannot be reached"),
  detail: t("Check the connection. Pictures that were accepted are safe."),
  status: 0,
});

/** The problem in the body of a response, or one for the status where the body is an error page of a proxy. */
export function asProblem(text, status) {
  try {
    const { title, detail } = JSON.parse(text);
    if (title && detail) return { title, detail, status };
  } catch {
    // Not JSON.
  }
  const detail = t("The server answered with status {status}. Try again in a moment.", { status });
  return { title: t("The request failed"), detail, status };
}
