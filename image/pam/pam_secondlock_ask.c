/*
 * pam_secondlock_ask.so: asks for the one-time code and hands it, as PAM_AUTHTOK, to the module
 * that follows (pam_exec(8) with expose_authtok). It judges nothing.
 *
 * A module of its own, since pam_exec asks for a "Password: " and cannot be told otherwise, and
 * since an answer that is empty or never comes must not be taken for a wrong code: it ends here.
 */
#include <stdlib.h>
#include <string.h>

#include <security/pam_ext.h>
#include <security/pam_modules.h>

enum { LONGEST = 64 }; /* characters of an answer; pam_exec and the program behind it take more */

int pam_sm_authenticate(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
    char *answer = NULL;
    int result;

    (void)flags, (void)argc, (void)argv;
    result = pam_prompt(pamh, PAM_PROMPT_ECHO_OFF, &answer, "Verification code: ");
    if (result == PAM_SUCCESS) {
        if (answer == NULL || *answer == '\0' || strlen(answer) > LONGEST)
            result = PAM_CRED_INSUFFICIENT;
        else
            result = pam_set_item(pamh, PAM_AUTHTOK, answer);
    }
    if (answer != NULL) {
        explicit_bzero(answer, strlen(answer));
        free(answer);
    }
    return result;
}

int pam_sm_setcred(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
    (void)pamh, (void)flags, (void)argc, (void)argv;
    return PAM_SUCCESS;
}
